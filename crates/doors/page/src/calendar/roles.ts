// What the calendar component says of itself to screen readers. It calls itself a table, but its events are no
// cells of that, its toolbar is inside, and rows are missing: readers would announce nonsense. So it is a group of
// buttons here, each of which says its day, and of headings; and what scrolls can be scrolled with the keyboard.

const UNSOUND = ['table', 'row', 'rowgroup', 'cell', 'columnheader', 'rowheader', 'list', 'listitem'];
const SELECTOR = UNSOUND.map((role) => `[role=${role}]`).join(',');

export function soundRoles(fill: HTMLElement) {
  const mend = () => {
    for (const element of fill.querySelectorAll(SELECTOR)) {
      element.removeAttribute('role');
      element.removeAttribute('aria-colindex');
      element.removeAttribute('aria-colspan');
      // A name is for what has a role.
      element.removeAttribute('aria-label');
    }
    const scrolls = fill.querySelector('.ec-main');
    if (scrolls && !scrolls.hasAttribute('tabindex')) {
      scrolls.setAttribute('role', 'group');
      scrolls.setAttribute('aria-label', 'Events');
      scrolls.setAttribute('tabindex', '0');
    }
  };
  const observer = new MutationObserver(mend);
  observer.observe(fill, { childList: true, subtree: true, attributes: true, attributeFilter: ['role'] });
  mend();
  return () => observer.disconnect();
}
