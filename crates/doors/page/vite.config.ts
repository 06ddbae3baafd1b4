import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// What is built is committed, so it must come out the same on every machine: names without hashes, one file of
// each kind, no time or path in it. Nothing may be inline: the node forbids that to its page.
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    outDir: process.env.FASTI_PAGE_OUT ?? 'dist',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    rollupOptions: {
      output: {
        entryFileNames: 'assets/page.js',
        assetFileNames: 'assets/page[extname]',
        codeSplitting: false,
      },
    },
  },
});
