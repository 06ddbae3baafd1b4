// A calendar's colour comes from its name: the same on every node, with nobody to choose it. All are dark enough for
// white letters (at least 4.5 to 1) in both schemes.

const HUES = [265, 150, 25, 310, 200, 85, 350, 230, 120, 50];
const LIGHTNESSES = [0.4, 0.51];

/** Policies have the colour of the house. */
const POLICIES = 'oklch(0.42 0.11 15)';

export function colourOf(calendar: string): string {
  if (calendar === 'policies') return POLICIES;
  let hash = 2166136261;
  for (const byte of new TextEncoder().encode(calendar)) hash = Math.imul(hash ^ byte, 16777619);
  // FNV's lowest bits know little of the first letters: all of them are to have a say.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = (hash ^ (hash >>> 13)) >>> 0;
  const lightness = LIGHTNESSES[Math.floor(hash / HUES.length) % LIGHTNESSES.length];
  return `oklch(${lightness} 0.1 ${HUES[hash % HUES.length]})`;
}

export const TEXT = '#fff';
