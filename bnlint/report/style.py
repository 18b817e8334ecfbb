"""How the page of a model looks: light and dark, narrow, and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --paper: #ffffff; --ink: #1d2023; --quiet: #5b6269; --line: #dddfe2; --faint: #f1f2f4;
  --error: #b3261e; --error-soft: #fbe3e0; --warning: #8a5a00; --warning-soft: #fdf0d3; --note: #0a6175;
  --note-soft: #daf1f6; --right: #1e6b3a; --right-soft: #dff2e5;
  --statistic: #1f51b5; --statistic-soft: #e0e8fb; --use: #7d2a8c; --use-soft: #f4e3f8; --gradient: #1e6b3a;
  --mono: ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --paper: #1b1f23; --ink: #e6e8ea; --quiet: #a3abb3; --line: #343a41; --faint: #23282d;
    --error: #ff9d94; --error-soft: #4a2220; --warning: #f2c261; --warning-soft: #44340f; --note: #7fd6e8;
    --note-soft: #123b44; --right: #86d6a0; --right-soft: #173a24;
    --statistic: #a3bffa; --statistic-soft: #22304f; --use: #e0a6ee; --use-soft: #41264a; --gradient: #86d6a0;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 0; line-height: 1.35; }
h4 { font-size: .8rem; margin: 1.1rem 0 .35rem; color: var(--quiet); font-weight: 600; }
p { margin: .4rem 0; max-width: 46rem; }
a { color: inherit; text-decoration-color: var(--quiet); text-underline-offset: .15em; }
a:hover { text-decoration-color: currentcolor; }
:focus-visible { outline: 2px solid var(--statistic); outline-offset: 2px; border-radius: 2px; }
code, pre, .mono { font-family: var(--mono); font-size: .875em; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); }
.target { font-family: var(--mono); font-size: .95rem; overflow-wrap: anywhere; margin: 0 0 .75rem; }
.facts { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: 0 0 1rem; font-size: .9rem; }
.facts div { display: flex; gap: .4rem; min-width: 0; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; font-family: var(--mono); font-size: .875em; line-height: 1.7; overflow-wrap: anywhere; }
.badge { display: inline-block; font-size: .75rem; font-weight: 650; line-height: 1.4; padding: .1rem .5rem;
  border-radius: 1rem; white-space: nowrap; }
.badge.error { background: var(--error-soft); color: var(--error); }
.badge.warning { background: var(--warning-soft); color: var(--warning); }
.badge.note { background: var(--note-soft); color: var(--note); }
.badge.right { background: var(--right-soft); color: var(--right); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; table-layout: fixed; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; vertical-align: middle; }
thead th { font-size: .8rem; font-weight: 600; color: var(--quiet); border-bottom: 1px solid var(--line);
  vertical-align: bottom; }
tbody th { font-family: var(--mono); font-size: .8125rem; font-weight: 500; overflow-wrap: anywhere; }
tbody tr + tr > * { border-top: 1px solid var(--faint); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.layers .name { width: 20%; }
.layers .class { width: 15%; overflow-wrap: anywhere; }
.layers .bar-cell { width: 22%; padding-right: 1rem; }
.layers .verdict { width: 17%; padding-left: .5rem; }
.layers .badge { white-space: normal; overflow-wrap: anywhere; border-radius: .7rem; }
.bar { position: relative; display: block; height: .8rem; background: var(--faint); border-radius: 2px; }
.bar i { position: absolute; inset: 0 auto 0 0; border-radius: 2px; background: var(--right); min-width: 2px; }
.bar.error i { background: var(--error); }
.bar.warning i { background: var(--warning); }
.bar.note i { background: var(--note); }
.bar.unknown i { background: var(--quiet); }
.bar b { position: absolute; top: -.15rem; bottom: -.15rem; width: 2px; margin-left: -1px;
  background: var(--ink); }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .85rem; color: var(--quiet);
  margin: .25rem 0 .75rem; padding: 0; list-style: none; }
.key li { display: flex; align-items: center; gap: .45rem; }
.key .bar { width: 1.75rem; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem 1.25rem 1.25rem;
  margin: 1rem 0; }
.card header { display: flex; flex-wrap: wrap; gap: .35rem .6rem; align-items: baseline; }
.card > p { margin: .35rem 0 0; }
.both { display: grid; grid-template-columns: minmax(0, 29rem) minmax(0, 1fr); gap: 0 2.5rem; align-items: start; }
figure { margin: .75rem 0 0; }
figcaption { font-size: .8rem; color: var(--quiet); }
.graph { width: 100%; max-width: 29rem; height: auto; display: block; }
.graph text { font: 13px var(--mono); fill: var(--ink); }
.graph text.label { font: 11.5px system-ui, sans-serif; fill: var(--quiet); }
.graph rect { fill: var(--faint); stroke: var(--quiet); stroke-width: 1.25; }
.graph .statistic rect { fill: var(--statistic-soft); stroke: var(--statistic); }
.graph .stop rect { fill: var(--error-soft); stroke: var(--error); stroke-width: 2; }
.graph .use rect { fill: var(--use-soft); stroke: var(--use); }
.graph path { fill: none; stroke-width: 1.5; }
.graph .forward { stroke: var(--quiet); }
.graph .back { stroke: var(--gradient); stroke-width: 2; stroke-dasharray: 5 4; }
.graph .lost { stroke: var(--error); }
.graph .cross { stroke: var(--error); stroke-width: 2.5; stroke-linecap: round; }
.graph .head { stroke: none; }
.graph .head.values { fill: var(--quiet); }
.graph .head.gradient { fill: var(--gradient); }
.numbers { display: grid; grid-template-columns: auto auto; gap: .1rem 1rem; margin: 0; font-size: .875rem;
  justify-content: start; }
.numbers dt { color: var(--quiet); }
.numbers dd { margin: 0; font-variant-numeric: tabular-nums; }
pre { margin: 0; padding: .6rem .75rem; background: var(--faint); border-radius: 6px; overflow-x: auto;
  font-size: .8125rem; line-height: 1.6; }
pre .n { color: var(--quiet); user-select: none; }
mark { color: inherit; background: none; border-radius: 2px; padding: .05em 0; }
mark.statistic { background: var(--statistic-soft); box-shadow: inset 0 -2px var(--statistic); }
mark.stop { background: var(--error-soft); box-shadow: inset 0 -2px var(--error); }
mark.use { background: var(--use-soft); box-shadow: inset 0 -2px var(--use); }
ins, del { text-decoration: none; display: block; width: max-content; min-width: 100%; }
ins { background: var(--right-soft); }
del { background: var(--error-soft); }
.marks, .names { list-style: none; margin: .4rem 0 0; padding: 0; font-size: .85rem; }
.marks mark { padding: 0 .3em; font-weight: 600; }
.names { display: flex; flex-wrap: wrap; gap: .15rem .9rem; }
.reading dt { font-weight: 600; margin-top: .5rem; }
.reading dd { margin: 0; max-width: 46rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .85rem;
  color: var(--quiet); }
@media (max-width: 46rem) {
  main { padding: 1.25rem .9rem 3rem; }
  h1 { font-size: 1.4rem; }
  .wide { display: none; }
  .both { grid-template-columns: minmax(0, 1fr); }
  .card { padding: .9rem .9rem 1rem; }
  .layers .name { width: 42%; }
  .layers .bar-cell { width: auto; }
  .layers .number { width: 4.2rem; padding-right: 0; }
}
@media print {
  :root { --page: #fff; }
  body { font-size: 10.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  .card, tr, figure, pre { break-inside: avoid; }
  h2, h3, h4, header { break-after: avoid; }
  pre { white-space: pre-wrap; }
}
"""
