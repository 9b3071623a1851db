"""How the reward model's page looks: the chat's colours, light and dark, wide and narrow, without any web font."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --raise: #ffffff; --ink: #22211f; --soft: #6f6c66; --line: #e4e1db; --own: #eeebe5;
  --accent: #2b6a5b; --glow: #2b6a5b1f; --second: #b0651d; --look: #8a5a00; --bad: #a83a2b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #191918; --raise: #222220; --ink: #e9e7e2; --soft: #a09c94; --line: #383733; --own: #2b2a27;
    --accent: #7cc4ae; --glow: #7cc4ae26; --second: #e2a869; --look: #e0b45c; --bad: #f08f7f;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55; font-size: 16px;
  font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1060px; margin: 0 auto; padding: 44px 28px 64px; }
h1 { font-size: 30px; font-weight: 650; letter-spacing: -.022em; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 19px; font-weight: 620; letter-spacing: -.012em; line-height: 1.3; margin: 0; }
p { margin: 0; }
a { color: inherit; text-decoration: none; }
code { font: 13px/1.4 ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace; }
.over { font-size: 13px; font-weight: 600; color: var(--accent); margin: 0 0 6px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; color: var(--soft); font-size: 14px; }
.facts b { color: var(--ink); font-weight: 550; }

.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 14px; margin: 28px 0 14px; }
.tile, section, .glance { background: var(--raise); border: 1px solid var(--line); border-radius: 14px; }
.tile { padding: 16px 18px 18px; }
.tile h3, .note { font-size: 13.5px; font-weight: 500; color: var(--soft); margin: 0; }
.tile .big { font-size: 34px; font-weight: 620; letter-spacing: -.03em; line-height: 1.25; margin: 2px 0; }
.tile .note { margin: 0 0 10px; font-weight: 400; min-height: 1.5em; }

.bar { position: relative; height: 8px; border-radius: 4px; background: var(--own); min-width: 110px; }
.bar i, .bar b, .bar u { position: absolute; top: 0; height: 8px; }
.bar i { left: calc(var(--low) * 1%); width: calc((var(--high) - var(--low)) * 1%); min-width: 3px; opacity: .42; }
.bar i { background: var(--accent); border-radius: 4px; }
.bar b { left: calc(var(--at) * 1% - 2px); width: 4px; top: -2px; height: 12px; background: var(--accent); }
.bar b { border-radius: 2px; }
.bar u { left: 50%; width: 1px; top: -3px; height: 14px; background: var(--soft); opacity: .6; }
.legend { color: var(--soft); font-size: 13px; margin-top: 12px; }

.glance { padding: 8px 20px; margin: 0 0 30px; }
.glance ul { list-style: none; margin: 0; padding: 0; }
.glance li + li { border-top: 1px solid var(--line); }
.glance a { display: grid; grid-template-columns: 112px 164px 1fr; gap: 4px 14px; padding: 9px 0; }
.glance a { align-items: baseline; }
.glance a b { font-weight: 550; }
.glance a:hover b { color: var(--accent); }
.glance a span:last-child { color: var(--soft); font-size: 14.5px; }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 4px; }

.mark { display: inline-flex; align-items: center; gap: 7px; font-size: 13px; font-weight: 600; white-space: nowrap; }
.mark::before { content: ""; width: 9px; height: 9px; border-radius: 50%; background: currentColor; flex: none; }
.mark.good { color: var(--accent); }
.mark.look { color: var(--look); }
.mark.look::before { border-radius: 2px; transform: rotate(45deg); }
.mark.bad { color: var(--bad); }
.mark.bad::before { border-radius: 2px; }
.mark.unknown, .mark.none { color: var(--soft); }
.mark.unknown::before, .mark.none::before { background: none; border: 1.5px solid currentColor; }

section { padding: 22px 24px 24px; margin: 0 0 16px; scroll-margin-top: 16px; }
.head { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; justify-content: space-between; }
.means { color: var(--soft); font-size: 15px; max-width: 72ch; margin: 6px 0 12px; }
.said { max-width: 72ch; }
.do { max-width: 72ch; margin-top: 4px; }
.do b { font-weight: 600; }
.split { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 470px); gap: 12px 40px; }
figure { margin: 2px 0 0; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; }
figure svg * { stroke-linejoin: round; }
figure svg text { font-family: inherit; }

table { width: 100%; border-collapse: collapse; font-size: 14.5px; margin-top: 14px; }
th { text-align: left; font-weight: 500; font-size: 13px; color: var(--soft); padding: 4px 14px 6px 0; }
td { padding: 8px 14px 8px 0; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
td.number, th.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td .bar { margin-top: 8px; }
tr.suspect td:first-child { position: relative; font-weight: 550; }
tr.suspect td:first-child::after {
  content: ""; position: absolute; left: -12px; top: 8px; bottom: 8px; width: 3px; background: var(--bad);
  border-radius: 2px;
}
.dash { color: var(--soft); white-space: normal; }
.dash small { font-size: 12.5px; }
.tile .big .dash small { display: block; font-size: 13.5px; font-weight: 400; letter-spacing: 0; line-height: 1.45; }
td ul { margin: 0; padding-left: 17px; }
.chip { display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: 13px; background: var(--own); }
details { margin-top: 14px; }
summary { color: var(--soft); font-size: 14px; cursor: pointer; width: fit-content; }
summary:hover { color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 14px 0 0; font-size: 15px; }
dt { color: var(--soft); }
dd { margin: 0; font-variant-numeric: tabular-nums; }

@media (max-width: 860px) { .split { grid-template-columns: minmax(0, 1fr); } .split figure { max-width: 520px; } }
@media (max-width: 640px) {
  main { padding: 26px 14px 40px; }
  h1 { font-size: 25px; }
  .tiles { grid-template-columns: 1fr; gap: 10px; margin-top: 20px; }
  .tile .note { min-height: 0; }
  section { padding: 18px 16px 20px; }
  .glance { padding: 4px 16px; }
  .glance a { grid-template-columns: 1fr auto; }
  .glance a b { order: -1; }
  .glance a span:last-child { grid-column: 1 / -1; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 14px; padding: 10px 0; }
  tr { border-top: 1px solid var(--line); }
  td { display: block; border: 0; padding: 0; }
  td::before { content: attr(data-label); display: block; color: var(--soft); font-size: 12.5px; }
  td:first-child, td:has(ul), td:has(.bar), td:has(.dash) { grid-column: 1 / -1; }
  td .bar { margin: 6px 0 4px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
  td.empty { display: none; }
}
@media print { body { background: #fff; } section, .tile, .glance { break-inside: avoid; } }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""
