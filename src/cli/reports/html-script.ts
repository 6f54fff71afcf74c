/**
 * What draws the plots of the HTML report, as a text: it runs in the reader's browser, where uPlot and the element #data (PlotData)
 * are. Colours come from the style's variables, and all is drawn again when those change: another scheme, paper, another width.
 */

export const REPORT_SCRIPT = `
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const HEIGHT = 230;
  const PRINT_WIDTH = 690;
  const DASHES = [[], [8, 4], [3, 3], [10, 3, 2, 3]];
  const zoomTogether = uPlot.sync('time');
  let plots = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const digits = (value) => value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
  const short = (value) => String(Number(digits(value)));
  const time = (us, format = digits) => us == null ? '–' : us < 1000 ? Math.round(us) + ' us' : us < 1e6 ? format(us / 1e3) + ' ms' : format(us / 1e6) + ' s';
  const count = (value) => value == null ? '–' : Math.round(value).toLocaleString('en-US');
  const fine = (value) => value == null ? '–' : value < 100 && value > 0 ? short(value) : count(value);
  const two = (value) => String(Math.floor(value)).padStart(2, '0');
  const clock = (s) => s < 0 ? '-' + clock(-s) : s < 120 ? s + ' s' : s < 3600 ? Math.floor(s / 60) + ':' + two(s % 60) : Math.floor(s / 3600) + ':' + two(s / 60 % 60) + ':' + two(s % 60);
  const share = (x) => {
    const percent = 100 * (1 - 1 / x);
    const decimals = Math.max(0, Math.ceil(Math.log10(x) - 1e-9) - 2);
    return 'p' + Number(percent.toFixed(decimals + 1));
  };

  function axis(values, extra) {
    return Object.assign({
      stroke: colour('quiet'), grid: { stroke: colour('grid'), width: 1 }, ticks: { stroke: colour('grid'), width: 1 },
      font: '12px system-ui, sans-serif', values: (plot, splits) => splits.map((value) => value == null ? '' : values(value)),
    }, extra);
  }

  function line(name, index, values, extra) {
    return Object.assign({
      label: name, stroke: colour('series-' + (index % 6 + 1)), width: 1.75, dash: DASHES[Math.floor(index / 6) % DASHES.length],
      points: { show: data.t.length < 60, size: 5 }, spanGaps: false, value: (plot, value) => values(value),
    }, extra);
  }

  /** Latencies of very different sizes stand on a logarithmic scale. */
  function latencyScale(lists) {
    let least = Infinity, most = 0;
    for (const list of lists) for (const value of list) if (value > 0) { least = Math.min(least, value); most = Math.max(most, value); }
    return most / least > 100
      ? { distr: 3, log: 10, range: [10 ** Math.floor(Math.log10(least)), 10 ** Math.ceil(Math.log10(most))] }
      : { range: [0, most > 0 ? most * 1.05 : 1] };
  }

  /** On a logarithmic scale only powers of ten have a line, and 2 and 5 where there are few of those. */
  function shownSplits(plot, splits) {
    const { distr, min, max } = plot.scales.y;
    if (distr !== 3) return splits;
    const steps = Math.log10(max / min) > 2.5 ? [1] : [1, 2, 5];
    return splits.map((value) => steps.includes(Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9))) ? value : null);
  }

  function latencyAxis() {
    const made = axis((value) => time(value, short), { size: 78, filter: shownSplits });
    made.grid.filter = shownSplits;
    made.ticks.filter = shownSplits;
    return made;
  }

  /** What comes before 0 counts for nothing. */
  function shadeWarmup(plot) {
    if (!(data.t[0] < 0)) return;
    const { left, top, height } = plot.bbox;
    const { ctx } = plot;
    const right = Math.min(plot.valToPos(0, 'x', true), left + plot.bbox.width);
    if (!(right > left)) return;
    ctx.save();
    ctx.fillStyle = colour('grid');
    ctx.globalAlpha = 0.6;
    ctx.fillRect(left, top, right - left, height);
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour('quiet');
    ctx.font = 11 * devicePixelRatio + 'px system-ui, sans-serif';
    ctx.textBaseline = 'top';
    if (right - left > 70 * devicePixelRatio) ctx.fillText('warm-up', left + 6 * devicePixelRatio, top + 5 * devicePixelRatio);
    ctx.restore();
  }

  function overTime(id, series, columns, yScale, yAxis) {
    const element = document.getElementById(id);
    if (element === null || columns[0].length === 0) return;
    draw(element, {
      scales: { x: { time: false, range: (plot, min, max) => min === max ? [min - 0.5, max + 0.5] : [min, max] }, y: yScale },
      axes: [axis(clock, { incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400] }), yAxis],
      series: [{ label: 'at', value: (plot, value) => value == null ? '–' : clock(value) }, ...series],
      hooks: { drawClear: [shadeWarmup] },
      cursor: { sync: { key: zoomTogether.key }, drag: { x: true, y: false }, focus: { prox: 30 } },
    }, columns);
  }

  function draw(element, options, columns) {
    const width = element.clientWidth;
    plots.push(new uPlot(Object.assign({ width, height: HEIGHT, legend: { live: true } }, options), columns, element));
  }

  const countAxis = () => axis(fine, { size: 78 });
  const fromZero = { range: (plot, min, max) => [0, max > 0 ? max * 1.08 : 1] };

  function drawAll() {
    for (const plot of plots) plot.destroy();
    plots = [];
    const faded = (name) => colour(name) + '22';
    overTime('rate', [
      line('completed', 0, count, { fill: faded('series-1') }),
      ...(data.isOpen ? [line('started', 1, count, { dash: [6, 4] })] : []),
    ], [data.t, data.rate, ...(data.isOpen ? [data.started] : [])], fromZero, countAxis());

    const latencies = data.latency.map(({ us }) => us);
    overTime('latency', data.latency.map(({ name }, index) => line(name, [3, 1, 2, 0][index], time)), [data.t, ...latencies],
      latencyScale(latencies), latencyAxis());

    overTime('errors', data.errors.map(({ name }, index) => line(name, index + 1, fine)), [data.t, ...data.errors.map(({ perSecond }) => perSecond)], fromZero, countAxis());
    overTime('connections', [line('open', 2, count, { fill: faded('series-3') })], [data.t, data.connections], fromZero, countAxis());
    drawPercentiles();
  }

  /** x is 1 / (1 - share) on a logarithmic scale: every nine more is as wide as the one before. */
  function drawPercentiles() {
    const element = document.getElementById('percentiles');
    if (element === null) return;
    const curves = data.percentiles.filter(({ x }) => x.length > 0);
    if (curves.length === 0) return;
    const columns = uPlot.join(curves.map(({ x, us }) => unique(x, us)), curves.map(() => [2]));
    const most = Math.max(10, ...curves.map(({ x }) => x[x.length - 1]));
    const ticks = [];
    for (let x = 1; x <= most; x *= 10) for (const part of most > 1e3 ? [1] : [1, 2, 4]) if (x * part <= most) ticks.push(x * part);
    draw(element, {
      scales: { x: { time: false, distr: 3, log: 10, range: [1, most] }, y: latencyScale(curves.map(({ x, us }) => us.filter((value, at) => x[at] >= 1.1))) },
      axes: [
        axis((x) => share(x), { splits: () => ticks, filter: (plot, splits) => splits, values: (plot, splits) => splits.map(share) }),
        latencyAxis(),
      ],
      series: [
        { label: 'percentile', value: (plot, x) => x == null ? '–' : share(x) },
        ...curves.map(({ name }, index) => line(name, index, time, { points: { show: false }, spanGaps: true, dash: index === 1 ? [6, 4] : [] })),
      ],
      cursor: { drag: { x: false, y: false } },
    }, columns);
  }

  /** uPlot wants ascending x: of equal ones the last counts. */
  function unique(x, us) {
    const xs = [], ys = [];
    x.forEach((value, at) => {
      if (xs.length > 0 && xs[xs.length - 1] >= value) ys[ys.length - 1] = us[at];
      else { xs.push(value); ys.push(us[at]); }
    });
    return [xs, ys];
  }

  drawAll();

  let waiting = 0;
  const widthOf = () => document.querySelector('.plot').clientWidth;
  let drawnWidth = widthOf();
  addEventListener('resize', () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (widthOf() === drawnWidth) return;
      drawnWidth = widthOf();
      for (const plot of plots) plot.setSize({ width: drawnWidth, height: HEIGHT });
    }, 100);
  });
  matchMedia('screen and (prefers-color-scheme: dark)').addEventListener('change', drawAll);
  const printing = matchMedia('print');
  printing.addEventListener('change', () => {
    drawAll();
    if (printing.matches) for (const plot of plots) plot.setSize({ width: Math.min(PRINT_WIDTH, plot.width), height: HEIGHT * 0.8 });
  });
})();
`;
