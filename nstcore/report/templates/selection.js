const selection = { has: () => true, active: () => false };
