// Light or dark, as the system has it or as a person chose.

const THEMES = ['', 'light', 'dark'];
const themeButton = document.getElementById('theme');

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  themeButton.textContent = { '': 'Theme: auto', light: 'Theme: light', dark: 'Theme: dark' }[theme];
}

function remembered(theme) {
  try {
    if (theme === undefined) return window.localStorage.getItem('nst-theme') || '';
    window.localStorage.setItem('nst-theme', theme);
  } catch {
    // A browser may refuse storage to files: the choice then lasts as long as the page.
  }
  return theme || '';
}

let theme = remembered();
setTheme(theme);
themeButton.addEventListener('click', () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remembered(theme);
  setTheme(theme);
});
