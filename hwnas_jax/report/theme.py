"""The page around the figures: style sheet and frame."""

import string

PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$css</style>
</head>
<body>
<header>
<p class="eyebrow">$eyebrow</p>
<h1>$title</h1>
$lead
<ul class="tiles">$tiles</ul>
<nav aria-label="Sections">$nav</nav>
</header>
<main>$sections</main>
<footer>$footer</footer>
</body>
</html>
""")

CSS = """
:root {
  --ink: #1f2429; --muted: #5f6973; --grid: #e4e8ed; --faint: #b9c1ca;
  --panel: #ffffff; --page: #f5f6f8; --node: #eceff3; --accent: #0b62c4;
  --soft: #e8f0fb;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8ebee; --muted: #9aa5b1; --grid: #2c333b; --faint: #545e69;
    --panel: #191d22; --page: #101316; --node: #2a3139; --accent: #62a8ff;
    --soft: #1b2b40;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; max-width: 1180px; padding: 0 24px 64px;
  background: var(--page); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
    "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
header { padding: 56px 0 8px; }
.eyebrow {
  margin: 0 0 8px; color: var(--accent); font-size: 14px; font-weight: 600;
}
h1 {
  margin: 0 0 20px; font-size: clamp(28px, 4.4vw, 44px); line-height: 1.12;
  letter-spacing: -0.02em; text-wrap: balance; overflow-wrap: anywhere;
}
h2 {
  margin: 0 0 4px; font-size: 24px; line-height: 1.25; letter-spacing: -0.01em;
}
h3 { margin: 32px 0 8px; font-size: 17px; }
p { margin: 0 0 12px; max-width: 70ch; overflow-wrap: anywhere; }
a { color: var(--accent); }
code, pre {
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas,
    "Liberation Mono", monospace;
}
.lead { font-size: 19px; line-height: 1.55; }
.lead + .lead { font-size: 16px; color: var(--muted); }
.tiles {
  display: grid; gap: 12px; margin: 28px 0 20px; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fit, minmax(170px, 1fr));
}
.tiles li, .panel, .member {
  background: var(--panel); border: 1px solid var(--grid); border-radius: 12px;
}
.tiles li { padding: 14px 18px; }
.tiles span { display: block; color: var(--muted); font-size: 14px; }
.tiles b { font-size: 24px; font-weight: 650; letter-spacing: -0.01em; }
nav { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 15px; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { padding-top: 52px; }
.note { color: var(--muted); margin-bottom: 16px; }
.figures {
  display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
}
.figures.small {
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr));
}
.split { display: grid; gap: 8px 32px; }
.split + .split { margin-top: 16px; }
@media (min-width: 861px) {
  .split { grid-template-columns: minmax(0, 1fr) minmax(0, 2fr); }
}
figure { margin: 0; min-width: 0; }
.panel { padding: 16px 18px 12px; }
figcaption { font-weight: 600; font-size: 15px; }
figcaption small {
  display: block; color: var(--muted); font-size: 14px; font-weight: 400;
}
.panel h3 { margin-top: 0; }
.panel figcaption { margin-bottom: 8px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
svg.plot { max-width: 580px; margin: 0 auto; }
.small svg.plot { max-width: 420px; }
svg.plot * { stroke-linejoin: round; stroke-linecap: butt; }
svg.plot a { cursor: pointer; }
svg.plot a:hover use { stroke: var(--ink) !important; }
svg.cell { margin: 0 auto; }
svg.cell .sub { font-size: 9px; }
svg.cell:has(.edge:hover) .edge:not(:hover) { opacity: 0.18; }
.legend {
  display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 4px 0 16px;
  padding: 0; list-style: none; font-size: 14px;
}
.legend li { display: flex; align-items: center; gap: 7px; }
.legend svg { width: 34px; }
.heads, .member summary {
  display: grid; gap: 4px 16px; align-items: center; padding: 0 18px;
  grid-template-columns:
    minmax(0, 1.7fr) repeat(5, minmax(0, 1fr)) minmax(0, 1.7fr);
}
.heads { margin-bottom: 6px; color: var(--muted); font-size: 13px; }
.member { margin-bottom: 8px; scroll-margin-top: 12px; }
.member:target { border-color: var(--accent); }
.member summary {
  padding: 12px 18px; cursor: pointer; list-style: none; font-size: 15px;
  border-radius: 12px;
}
.member summary::-webkit-details-marker { display: none; }
.member summary:hover { background: var(--soft); }
.member[open] summary { border-radius: 12px 12px 0 0; }
.member small, .name code {
  display: block; color: var(--muted); font-size: 12.5px;
}
.name { font-weight: 600; overflow-wrap: anywhere; }
.name::before {
  content: ""; display: inline-block; width: 6px; height: 6px;
  margin: 0 10px 2px 0; border: solid var(--muted); border-width: 0 2px 2px 0;
  transform: rotate(-45deg); transition: transform 0.15s;
}
.member[open] .name::before { transform: rotate(45deg); }
.name code { padding-left: 18px; font-weight: 400; }
.badge {
  margin-left: 8px; padding: 1px 8px; border-radius: 99px; font-size: 12px;
  font-weight: 600; color: var(--accent); background: var(--soft);
  white-space: nowrap;
}
.bar {
  display: flex; gap: 1px; height: 18px; border-radius: 5px; overflow: hidden;
}
.bar i {
  min-width: 0; overflow: hidden; color: #fff; font: 600 11px/18px inherit;
  font-style: normal; font-size: 11px; line-height: 18px; text-align: center;
  text-shadow: 0 0 2px #0009;
}
.cells {
  display: grid; gap: 20px; padding: 14px 18px 4px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr));
}
.cells figcaption { color: var(--muted); font-weight: 400; font-size: 14px; }
.facts {
  display: flex; flex-wrap: wrap; gap: 6px 28px; margin: 0;
  padding: 10px 18px 16px; font-size: 14px;
}
.facts dt { color: var(--muted); font-size: 12.5px; }
.facts dd { margin: 0; }
pre {
  margin: 0 0 16px; padding: 14px 18px; overflow: auto; border-radius: 12px;
  background: var(--panel); border: 1px solid var(--grid);
}
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
.tables { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td {
  padding: 5px 12px 5px 0; text-align: left; vertical-align: top;
  border-top: 1px solid var(--grid); overflow-wrap: anywhere;
}
tr:first-child > * { border-top: 0; }
th { width: 40%; font-weight: 400; color: var(--muted); }
.settings summary { cursor: pointer; margin: 16px 0 8px; }
footer { padding-top: 40px; color: var(--muted); font-size: 14px; }
@media (max-width: 860px) {
  body { padding: 0 16px 48px; }
  header { padding-top: 32px; }
  .lead { font-size: 17px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tiles li { padding: 10px 14px; }
  .tiles b { font-size: 20px; }
  .heads { display: none; }
  .member summary {
    align-items: start; grid-template-columns: repeat(3, minmax(0, 1fr));
  }
  .member summary .name, .member summary span[data-head="Operations"] {
    grid-column: 1 / -1;
  }
  .member summary span[data-head]::before {
    content: attr(data-head); display: block; color: var(--muted);
    font-size: 12.5px;
  }
  .panel { padding: 14px 12px 10px; }
  .cells { padding-left: 10px; padding-right: 10px; }
}
@media print {
  .member { break-inside: avoid; } nav { display: none; }
}
"""
