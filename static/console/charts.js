/* Draws every chart: data from <script type="application/json">, colours from the tokens, words from the server.
   ECharts is fetched when the first chart comes into view. Its tooltips are rich text on the canvas, never HTML, so the
   strict content security policy holds. Quantities arrive as integers and are divided by `scale` only to be drawn. */
(() => {
  const library = document.currentScript.dataset.echarts;
  const language = document.documentElement.lang;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const alpha = (hex, share) => hex + Math.round(share * 255).toString(16).padStart(2, "0");
  const narrow = () => matchMedia("(max-width: 47.99rem)").matches;
  const font = () => css("--iss-font");
  const number = (value, digits) =>
    value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });

  const axisText = () => ({ color: css("--iss-ink-3"), fontSize: 12, fontFamily: font() });
  const tooltip = (more) => ({
    renderMode: "richText", trigger: "axis", confine: true, borderWidth: 0, padding: [8, 12], backgroundColor: css("--iss-ink"),
    axisPointer: { lineStyle: { color: css("--iss-ink-3"), type: "dashed" } },
    textStyle: { color: css("--iss-paper"), fontSize: 12, fontFamily: font(), lineHeight: 20 }, ...more,
  });
  const yAxis = (unit, more = {}) => ({
    type: "value", splitNumber: 3, name: unit, nameGap: 12,
    nameTextStyle: { ...axisText(), align: "right", padding: [0, 8, 0, 0] },
    axisLabel: { ...axisText(), margin: 8 }, splitLine: { lineStyle: { color: css("--iss-grid") } }, ...more,
  });
  const xAxis = (data, interval, more = {}) => ({
    type: "category", data, axisTick: { show: false }, axisLine: { lineStyle: { color: css("--iss-line") } },
    axisLabel: { ...axisText(), interval }, ...more,
  });
  const frame = (top, grid = {}) => ({
    animation: false, textStyle: { fontFamily: font() }, grid: { left: 52, right: 26, top, bottom: 28, ...grid },
  });
  // three even steps above the highest value
  const steps = (highest) => {
    if (!(highest > 0)) return {};
    const power = 10 ** Math.floor(Math.log10(highest / 3));
    const step = [1, 2, 2.5, 4, 5, 10, 20].map((n) => n * power).find((n) => n * 3 >= highest * 1.05);
    return { min: 0, max: step * 3, interval: step };
  };
  const dot = (colour, size, at, label) => ({
    silent: true, symbol: "circle", symbolSize: size, data: [{ coord: at }],
    itemStyle: { color: colour, borderColor: css("--iss-surface"), borderWidth: 2 },
    label: { show: true, color: css("--iss-ink"), fontSize: 12, fontFamily: font(), lineHeight: 17, backgroundColor: alpha(css("--iss-surface"), 0.8), ...label },
  });
  const rule = (colour, at, label) => ({
    silent: true, symbol: "none", lineStyle: { color: colour, type: [4, 4], width: 1 }, data: [at],
    label: label ? { formatter: label, position: "end", color: css("--iss-ink-2"), fontSize: 12, fontFamily: font() } : { show: false },
  });

  // a label over a point near an end of the axis moves inward, so that it is not cut
  const inward = (at, length) => (at > length * 0.88 ? -26 : at < length * 0.08 ? 26 : 0);

  const kinds = {
    // {unit, digits, scale, days: [text], series: [{name, key: 1…6, data: [int]}]}, series from the axis up
    stacked(d) {
      const last = d.series.length - 1;
      return {
        ...frame(30),
        tooltip: tooltip({
          axisPointer: { type: "shadow", shadowStyle: { color: alpha(css("--iss-ink"), 0.05) } },
          formatter: (points) => [
            `${points[0].axisValue}    ${number(points.reduce((sum, p) => sum + p.value, 0), d.digits)} ${d.unit}`,
            ...points.filter((p) => p.value > 0).reverse().map((p) => `${p.seriesName}  ${number(p.value, d.digits)}`),
          ].join("\n"),
        }),
        xAxis: xAxis(d.days, (i) => (d.days.length - 1 - i) % (narrow() ? 10 : 5) === 0 && (i > 0 || d.days.length < 10), { axisLine: { show: false } }),
        yAxis: yAxis(d.unit),
        series: d.series.map((s, i) => ({
          name: s.name, type: "bar", stack: "all", barWidth: "72%", barMaxWidth: 48, data: s.data.map((v) => v / d.scale),
          itemStyle: {
            color: css(`--iss-s${s.key}`), borderColor: css("--iss-surface"), borderWidth: 0.75,
            borderRadius: i === last ? [2, 2, 0, 0] : 0,
          },
        })),
      };
    },
    // {unit, digits, scale, labels: [text], values: [int], rule: int | null, mark: {at, label} | null, accent: token}
    day(d) {
      const colour = css(`--iss-${d.accent || "accent"}`);
      const values = d.values.map((v) => v / d.scale);
      const every = d.labels.length / (narrow() ? 4 : 8);
      const right = d.mark && d.mark.at > d.labels.length * 0.7;
      return {
        ...frame(30),
        tooltip: tooltip({ formatter: (points) => `${points[0].axisValue}\n${number(points[0].value, d.digits)} ${d.unit}` }),
        xAxis: xAxis(d.labels, (i) => i % every === 0, {
          boundaryGap: false, axisLabel: { ...axisText(), interval: (i) => i % every === 0, formatter: (v) => v.slice(0, 5) },
        }),
        yAxis: yAxis(d.unit, steps(Math.max(...values, d.rule === null ? 0 : d.rule / d.scale))),
        series: [{
          type: "line", data: values, symbol: "none", lineStyle: { color: colour, width: 1.5 }, areaStyle: { color: alpha(colour, 0.1) },
          markLine: d.rule === null ? undefined : rule(colour, { yAxis: d.rule / d.scale }),
          markPoint: d.mark ? dot(colour, 11, [d.mark.at, values[d.mark.at]], {
            position: right ? "left" : "right", distance: 14, offset: [0, -14], formatter: d.mark.label, fontWeight: 600, fontSize: 13,
          }) : undefined,
        }],
      };
    },
    // {unit, labels: [text], values: [int], turn: int}: counts; those before `turn` go down, the others up
    bars(d) {
      return {
        ...frame(30),
        tooltip: tooltip({ axisPointer: { type: "none" }, formatter: (points) => `${points[0].axisValue}\n${number(points[0].value, 0)} ${d.unit}` }),
        xAxis: xAxis(d.labels, narrow() ? 2 : 0),
        yAxis: yAxis(d.unit, { minInterval: 1 }),
        series: [{
          type: "bar", barWidth: "72%", barMaxWidth: 48,
          data: d.values.map((value, i) => ({ value, itemStyle: { color: css(i < d.turn ? "--iss-accent" : "--iss-danger") } })),
        }],
      };
    },
    // {unit, digits, scale, days: [text], highest: int, frozen, today: {at, label} | null,
    //  series: [{name, token, data: [int | null], dashed, area, mark: {at, value, label, short} | null}]}
    burn(d) {
      const highest = d.highest / d.scale;
      return {
        ...frame(38, d.frozen ? { show: true, borderWidth: 0, backgroundColor: css("--iss-frozen-soft") } : {}),
        tooltip: tooltip({
          formatter: (points) => [points[0].axisValue, ...points.filter((p) => typeof p.value === "number")
            .map((p) => `${p.seriesName}  ${number(p.value, d.digits)} ${d.unit}`)].join("\n"),
        }),
        xAxis: xAxis(d.days, (i) => i % Math.ceil(d.days.length / (narrow() ? 4 : 8)) === 0, { boundaryGap: false }),
        yAxis: yAxis(d.unit, { min: 0, max: highest, interval: highest / 2 }),
        series: d.series.map((s, i) => ({
          name: s.name, type: "line", symbol: "none", connectNulls: false, z: d.series.length - i,
          data: s.data.map((v) => (v === null ? "-" : v / d.scale)),
          lineStyle: { color: css(s.token), width: 2, type: s.dashed ? [3, 4] : "solid" },
          areaStyle: s.area ? { color: alpha(css(s.token), 0.1) } : undefined,
          markPoint: s.mark ? dot(css(s.token), 9, [s.mark.at, s.mark.value / d.scale], {
            position: "top", formatter: narrow() ? s.mark.short : s.mark.label, offset: [inward(s.mark.at, d.days.length), 0],
          }) : undefined,
          markLine: i === 0 && d.today ? { ...rule(css("--iss-ink-3"), { xAxis: d.today.at }, d.today.label) } : undefined,
        })),
      };
    },
  };

  const canvases = [...document.querySelectorAll("[data-chart]")];
  for (const table of document.querySelectorAll(".chart-data")) { table.open = false; table.dataset.ready = ""; }
  if (!canvases.length) return;

  const seen = new Set();
  const paper = matchMedia("print");
  const draw = (canvas) => {
    const data = JSON.parse(document.getElementById(canvas.dataset.source).textContent);
    const chart = echarts.getInstanceByDom(canvas) || echarts.init(canvas, null, { renderer: "canvas" });
    chart.setOption(kinds[canvas.dataset.chart](data), true);
    if (!paper.matches) chart.resize();               // on paper a drawing keeps its shape; it has no height to take
    canvas.dataset.drawn = "";
  };
  let loading = null;
  const load = () => (loading ||= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = library;
    script.onload = () => document.fonts.ready.then(done);
    script.onerror = failed;
    document.head.append(script);
  }));
  const fallBack = () => {                            // without the library the tables are what there is
    for (const table of document.querySelectorAll(".chart-data")) table.open = true;
    document.documentElement.classList.remove("js");
  };
  const show = (canvas) => {
    if (!seen.has(canvas)) load().then(() => { seen.add(canvas); draw(canvas); }).catch(fallBack);
  };
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watch.unobserve(entry.target); show(entry.target); }
  }, { rootMargin: "80px" });
  canvases.forEach((canvas) => watch.observe(canvas));
  addEventListener("draw-all", () => canvases.forEach((canvas) => { watch.unobserve(canvas); show(canvas); }));
  // paper is light, whatever the theme
  const root = document.documentElement;
  addEventListener("beforeprint", () => {
    const theme = root.getAttribute("data-bs-theme");
    root.setAttribute("data-bs-theme", "light");
    // printed from the browser's menu: with the library at hand all is drawn; without it, what was never in view goes
    // as its table
    if (window.echarts && !paper.matches) canvases.forEach((canvas) => { watch.unobserve(canvas); seen.add(canvas); });
    seen.forEach(draw);
    const opened = canvases.filter((canvas) => !seen.has(canvas))
      .map((canvas) => canvas.parentElement.querySelector(".chart-data:not([open])")).filter(Boolean);
    opened.forEach((table) => { table.open = true; });
    addEventListener("afterprint", () => {
      opened.forEach((table) => { table.open = false; });
      if (theme === null) root.removeAttribute("data-bs-theme"); else root.setAttribute("data-bs-theme", theme);
      seen.forEach(draw);
    }, { once: true });
  });
  const again = () => seen.forEach(draw);
  addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
})();
