"""Files written whole or not at all, and the store of finished cells that runs share."""
