// Styles go into one file: what a component injects would be inline.
export default { compilerOptions: { runes: true, css: 'external' } };
