// Renders a job summary as GitHub shows it: GitHub's Markdown and its stylesheet, Mermaid charts drawn by Mermaid.
//
//   node render.mjs SUMMARY.md PAGE.html
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { marked } from "marked";

const [summary, page] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const style = readFileSync(require.resolve("github-markdown-css/github-markdown-light.css"), "utf8");
const mermaid = join(dirname(require.resolve("mermaid")), "mermaid.min.js");

const charts = {
  renderer: {
    code({ text, lang }) {
      if (lang !== "mermaid") return false;
      const safe = text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
      return `<pre class="mermaid">${safe}</pre>`;
    },
  },
};
marked.use({ gfm: true }, charts);
const body = marked.parse(readFileSync(summary, "utf8"));

// The title ends up as the height of the page, which the screenshot needs.
writeFileSync(page, `<!doctype html>
<meta charset="utf-8">
<style>${style}</style>
<style>body { margin: 0 } .markdown-body { max-width: 900px; padding: 24px } pre.mermaid { background: none; padding: 0; text-align: center }</style>
<article class="markdown-body">${body}</article>
<script src="file://${mermaid}"></script>
<script>
  mermaid.initialize({ startOnLoad: false });
  mermaid.run().then(
    () => { document.title = "height " + document.documentElement.scrollHeight; },
    (error) => { document.title = "error " + error.message; },
  );
</script>
`);
