// Which view shows: what stands behind the #, so that the server knows of one page only.

class Route {
  /** Such as `['policies', 'YSP-2024']`. */
  parts = $state<string[]>(read());

  get view(): string {
    return this.parts[0] ?? 'calendar';
  }

  go(...parts: string[]) {
    location.hash = href(...parts).slice(1);
  }

  /** Goes there, and leaves nothing of where we are in the history. */
  replace(...parts: string[]) {
    history.replaceState(null, '', href(...parts));
    this.parts = parts;
  }
}

export const href = (...parts: string[]) => `#/${parts.map(encodeURIComponent).join('/')}`;

function read(): string[] {
  const parts = location.hash.replace(/^#\/?/, '').split('/');
  return parts.filter((part) => part !== '').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

export const route = new Route();
addEventListener('hashchange', () => {
  route.parts = read();
});
