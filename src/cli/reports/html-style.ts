/** The style of the HTML report: light and dark as the reader's system has it, always light on paper. No font is fetched. */

export const REPORT_STYLE = `
:root {
  --paper: #ffffff; --ink: #1c2128; --quiet: #59636e; --line: #d7dce2; --panel: #f6f8fa;
  --good: #116329; --good-paper: #dafbe1; --bad: #a40e26; --bad-paper: #ffebe9; --warn: #7d4e00; --warn-paper: #fff8c5;
  --grid: #e6e9ed; --bar: #0072b2;
  --series-1: #0072b2; --series-2: #d55e00; --series-3: #009e73; --series-4: #8250a8; --series-5: #b58900; --series-6: #6e7781;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1318; --ink: #e6eaef; --quiet: #9aa5b1; --line: #343c46; --panel: #181d24;
    --good: #6fdd8b; --good-paper: #12301b; --bad: #ff9a94; --bad-paper: #3d1518; --warn: #f2cc60; --warn-paper: #332a0a;
    --grid: #262d36; --bar: #58a6ff;
    --series-1: #58a6ff; --series-2: #ff9b50; --series-3: #3fd0a0; --series-4: #c297ff; --series-5: #e3c04c; --series-6: #98a3af;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 22px; line-height: 1.3; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 40px 0 12px; }
h3 { font-size: 15px; margin: 24px 0 8px; }
p { margin: 8px 0; }
.quiet { color: var(--quiet); font-weight: normal; }
.verdict, .alert, .note { padding: 9px 14px; border-radius: 6px; border-left: 4px solid; overflow-wrap: anywhere; }
.verdict { font-weight: 600; }
.verdict.clean { color: var(--good); background: var(--good-paper); }
.verdict.failed { color: var(--bad); background: var(--bad-paper); }
.verdict.passed, .verdict.interrupted, .alert, .note { color: var(--warn); background: var(--warn-paper); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 10px; margin: 20px 0 8px; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card .name { color: var(--quiet); font-size: 13px; }
.card .figure { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.card .quiet { font-size: 12px; }
figure { margin: 0 0 22px; break-inside: avoid; }
figcaption { margin-bottom: 6px; }
.plot { width: 100%; min-height: 120px; }
.none { color: var(--good); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: normal; color: var(--quiet); text-align: right; }
tr > th:first-child { text-align: left; color: var(--ink); overflow-wrap: anywhere; }
thead th { white-space: nowrap; }
thead tr > th:first-child { color: var(--quiet); }
.facts td { text-align: left; overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px; }
.facts th { white-space: nowrap; padding-right: 28px; }
.wide td:last-child, .wide thead th:last-child { text-align: left; overflow-wrap: anywhere; padding-left: 14px; }
.bad { color: var(--bad); font-weight: 600; }
.scroll { overflow-x: auto; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); column-gap: 32px; }
.columns > .wide { grid-column: 1 / -1; }
.columns table { width: 100%; }
.bars { width: 100%; }
.bars th:first-child { width: 90px; white-space: nowrap; }
.bars td:nth-child(2), .bars td:nth-child(3) { width: 90px; white-space: nowrap; }
.bars td:last-child { padding-right: 0; }
.bars svg { display: block; width: 100%; height: 13px; margin-top: 4px; }
.bars rect { fill: var(--bar); }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--quiet); padding: 4px 0; }
.u-legend { font-size: 13px; text-align: left; }
.u-legend th, .u-legend td { border: 0; padding: 2px 4px; color: var(--ink); }
.u-legend .u-marker { border-width: 2px; }
.uplot { font-family: inherit; }
.u-select { background: color-mix(in srgb, var(--ink) 12%, transparent); }
@media print {
  body { font-size: 11px; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  .card, .verdict, .alert, .note, .bars rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  .plot { overflow: hidden; }
  .columns { grid-template-columns: 1fr 1fr; }
  .facts td { font-size: 9.5px; }
  details:not([open]) { display: none; }
  table { font-size: 9.5px; }
  thead th { white-space: normal; }
  th, td { padding-right: 8px; }
  .cards { grid-template-columns: repeat(7, minmax(0, 1fr)); gap: 6px; }
  .card { padding: 6px 8px; }
  .card .figure { font-size: 15px; }
  .card .quiet { font-size: 9px; }
  tr { break-inside: avoid; }
  .u-legend { font-size: 10px; }
  .u-legend .u-value, .u-legend .u-series:first-child, .u-legend .u-label::after { display: none; }
}
`;
