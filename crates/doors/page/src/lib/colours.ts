// A calendar's colour is what people said in an app or by the API; or else comes from its name: the same on every node,
// with nobody to choose it. Letters on it are white, or black where that can be read better.

const HUES = [265, 150, 25, 310, 200, 85, 350, 230, 120, 50];
const LIGHTNESSES = [0.4, 0.51];

/** Policies have the colour of the house. */
const POLICIES = 'oklch(0.42 0.11 15)';

const HEX = /^#([0-9a-f]{6})(?:[0-9a-f]{2})?$/i;

export interface Colours {
  background: string;
  text: '#fff' | '#000';
}

export function coloursOf(calendar: string, told?: string | null): Colours {
  const hex = told?.match(HEX)?.[1];
  if (hex !== undefined) return { background: `#${hex}`, text: luminance(hex) > LIGHT ? '#000' : '#fff' };
  // All of these are dark enough for white letters (at least 4.5 to 1) in both schemes.
  if (calendar === 'policies') return { background: POLICIES, text: '#fff' };
  let hash = 2166136261;
  for (const byte of new TextEncoder().encode(calendar)) hash = Math.imul(hash ^ byte, 16777619);
  hash >>>= 0;
  const lightness = LIGHTNESSES[Math.floor(hash / HUES.length) % LIGHTNESSES.length];
  return { background: `oklch(${lightness} 0.1 ${HUES[hash % HUES.length]})`, text: '#fff' };
}

/** Where black and white letters have the same contrast: 4.58 to 1 (WCAG 2.2). */
const LIGHT = 0.179;

function luminance(hex: string): number {
  const [red, green, blue] = [0, 2, 4].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
