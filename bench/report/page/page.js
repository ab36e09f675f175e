// The page's script: chooses the case shown, sorts and filters rows, shows the ratio of two, draws strips, downloads.
// It computes no statistic: ratios and intervals are those of the results; a ratio the other way round is inverted.
// Every text of the data enters the page as text, never as markup. No library, no request.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.columns.map((name, i) => [name, i]));
  const text = (number) => data.texts[number];
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  function make(name, properties = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key in node && key !== "role") node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }
  function draw(name, attributes = {}, ...children) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // Rows as objects, once.
  const rows = data.rows.map((values, number) => {
    const row = { number, at: data.cases[values[at.case]] };
    for (const [name, i] of Object.entries(at)) row[name] = values[i];
    for (const name of ["label", "named", "language", "division", "device", "reason", "remedy", "build"]) row[name] = text(row[name]);
    row.words = row.status === "ok" && !row.step ? "no sample" : row.status.replaceAll("_", " ");
    return row;
  });
  const rowsOf = data.cases.map(() => []);
  for (const row of rows) rowsOf[row.case].push(row);
  const pairs = new Map();
  for (const { first, pairs: own } of data.cases) {
    for (const [a, b, ratio, factor, verdict, more = null] of own) {
      pairs.set(`${first + a} ${first + b}`, { ratio: [ratio, ratio / factor, ratio * factor], verdict: data.verdicts[verdict], more });
    }
  }

  // Numbers, as `bench.format` writes them.
  function fixed(value, significant = 3) {
    if (value === 0) return "0";
    return value.toFixed(Math.min(100, Math.max(0, significant - 1 - Math.floor(Math.log10(Math.abs(value))))));
  }
  function withInterval([centre, low, high], scale = 1) {
    if (low === undefined) return fixed(centre / scale);
    const c = centre / scale, half = (high - low) / scale / 2, leading = -Math.floor(Math.log10(c));
    const needed = half > 0 ? -Math.floor(Math.log10(half / 2)) : leading + 4;
    let digits = Math.max(0, leading + 1, Math.min(leading + 4, needed));
    const side = (value) => Math.sign(value - 1), moved = (bound) => side(bound / scale) !== side(+(bound / scale).toFixed(digits));
    while (digits < 9 && (moved(low) || moved(high))) digits += 1;
    return `${c.toFixed(digits)} [${(low / scale).toFixed(digits)}, ${(high / scale).toFixed(digits)}]`;
  }
  const UNITS = [["s", 1], ["ms", 1e-3], ["µs", 1e-6], ["ns", 1e-9]];
  const unitOf = (seconds) => UNITS.find(([, size]) => seconds >= size) ?? UNITS[3];
  function time(step) {
    const [name, size] = unitOf(step[0]);
    const [centre, ...interval] = withInterval(step, size).split(" ");
    return [`${centre} ${name}`, ...interval].join(" ");
  }
  const times = (ratio) => withInterval(ratio).replace(" ", "× ");
  const inverse = ([centre, low, high]) => [1 / centre, 1 / high, 1 / low];

  // Two rows --------------------------------------------------------------------------------------------------------
  const OPPOSITE = { faster: "slower", slower: "faster" };
  function pairOf(one, other) {
    const forward = pairs.get(`${one.number} ${other.number}`), backward = pairs.get(`${other.number} ${one.number}`);
    if (forward || !backward) return forward ?? null;
    return { ...backward, ratio: inverse(backward.ratio), verdict: OPPOSITE[backward.verdict] ?? backward.verdict };
  }
  function launches(one) {
    const [least, most] = one.launches;
    return least === most ? `${least}` : `${least} to ${most}`;
  }
  /** Return the sentence on two rows, and how sure it is. */
  function compared(one, other) {
    if (one === other) return ["Choose two different backends.", ""];
    if (one.case !== other.case) {
      const why = one.at.run === other.at.run ? "They are of different cases" : "They are of different runs";
      return ["No ratio.", `${why}, which did not take turns, so a ratio would have no interval. Choose two rows of one case.`];
    }
    for (const row of [one, other]) if (!row.step) return [`${row.named} has no step time: ${row.words}.`, row.reason];
    const found = pairOf(one, other);
    if (!found) return ["No ratio.", "With a single launch there is no interval, and so no verdict."];
    const { ratio, verdict, more } = found, case_ = one.at, a = one.named, b = other.named;
    const sentence = {
      faster: `${a} is ${times(ratio)} as fast as ${b}.`,
      slower: `${a} takes ${times(inverse(ratio))} as long as ${b}.`,
      same: `${a} is as fast as ${b} within ±${+(100 * case_.margin).toPrecision(3)} % (${times(ratio)}).`,
    }[verdict] ?? `Undecided: ${a} is ${times(ratio)} as fast as ${b}.`;
    const decided = verdict === "undecided"
      ? `Neither a difference nor sameness is shown yet; ${more === null ? "more than 1000" : `about ${more}`} more ${more === 1 ? "launch" : "launches"} would show one.`
      : "The verdicts of a table hold together: at most 1 table in 20 has any false verdict of this kind.";
    const apart = one.division === other.division ? "" : ` They are of different divisions (${one.division}, ${other.division}), which are ranked apart.`;
    return [sentence, `In brackets: 95 % interval over ${launches(case_)} launches, paired round by round. ${decided}${apart}`];
  }
  function say(node, [sentence, sure]) {
    node.replaceChildren(sentence, ...(sure ? [make("small", {}, sure)] : []));
  }

  function compareForm() {
    const which = $("pair-case"), one = $("pair-one"), other = $("pair-other");
    const counted = (number) => rowsOf[number].filter((row) => row.step);
    data.cases.forEach((case_, number) => {
      if (counted(number).length > 1) which.append(make("option", { value: String(number) }, title(case_)));
    });
    if (!which.options.length) return say($("pair-answer"), ["There are no two step times in one case.", ""]);
    const answer = () => say($("pair-answer"), compared(rows[+one.value], rows[+other.value]));
    const fill = () => {
      const found = counted(+which.value), plain = found.filter((row) => row.division === found[0].division);
      for (const list of [one, other]) list.replaceChildren(...found.map((row) => make("option", { value: String(row.number) }, row.named)));
      one.value = String(plain.at(-1).number);
      other.value = String(plain[0].number);
      if (one.value === other.value) one.value = String(found.at(-1).number);
      answer();
    };
    which.addEventListener("change", fill);
    one.addEventListener("change", answer);
    other.addEventListener("change", answer);
    $("pair-swap").addEventListener("click", () => {
      [one.value, other.value] = [other.value, one.value];
      answer();
    });
    fill();
    $("compare-form").hidden = false;
    return which;
  }
  const title = (case_) => `${case_.workload}: ${case_.operation}, batch of ${case_.batch} ${case_.batch === 1 ? "row" : "rows"}, ${case_.dtype}, ${case_.threads} ${case_.threads === 1 ? "thread" : "threads"}${data.runs.length > 1 ? ` (run ${case_.run + 1})` : ""}`;

  // Cases -----------------------------------------------------------------------------------------------------------
  function casePicker(pairCase) {
    const picker = $("case"), articles = [...document.querySelectorAll("article.case")];
    const show = () => {
      for (const article of articles) article.hidden = picker.value !== "all" && article.dataset.case !== picker.value;
      for (const heading of document.querySelectorAll("h3.host[data-run]")) {
        heading.hidden = picker.value !== "all" && String(data.cases[+picker.value].run) !== heading.dataset.run;
      }
      if (pairCase && picker.value !== "all" && [...pairCase.options].some((option) => option.value === picker.value)) {
        pairCase.value = picker.value;
        pairCase.dispatchEvent(new Event("change"));
      }
    };
    picker.addEventListener("change", show);
    for (const link of document.querySelectorAll("a[data-case]")) {
      link.addEventListener("click", () => {
        picker.value = link.dataset.case;
        show();
      });
    }
    $("case-controls").hidden = !articles.length;
    show();
  }
  function chips() {
    const named = new Map();
    for (const row of rows) if (row.step && !named.has(row.look)) named.set(row.look, row.label);
    for (const [look, label] of named) {
      const chip = make("button", { type: "button", "aria-pressed": "false", onclick: () => {
        const on = chip.getAttribute("aria-pressed") !== "true";
        for (const other of $("chips").children) other.setAttribute("aria-pressed", "false");
        chip.setAttribute("aria-pressed", String(on));
        document.body.classList.toggle("lit", on);
        for (const node of document.querySelectorAll("[data-b], .ci")) {
          node.classList.toggle("on", on && (node.dataset.b === String(look) || node.classList.contains(`b${look}`)));
        }
      } }, draw("svg", { class: `swatch b${look}`, "aria-hidden": "true" }, draw("use", { href: `#m${look}`, x: 7, y: 7 })), ` ${label}`);
      $("chips").append(chip);
    }
  }

  // All rows --------------------------------------------------------------------------------------------------------
  const FILTERS = {
    run: { name: "run", of: (row) => `${row.at.run + 1}: ${data.runs[row.at.run].cpu} ${data.runs[row.at.run].created.slice(0, 16).replace("T", " ")}` },
    workload: { name: "workload", of: (row) => row.at.workload },
    operation: { name: "operation", of: (row) => row.at.operation },
    batch: { name: "batch", of: (row) => row.at.batch },
    dtype: { name: "dtype", of: (row) => row.at.dtype },
    threads: { name: "threads", of: (row) => row.at.threads },
    division: { name: "division", of: (row) => row.division },
    language: { name: "language", of: (row) => row.language },
    status: { name: "status", of: (row) => row.words },
  };
  const centre = (estimate) => (estimate ? estimate[0] : null);
  const COLUMNS = [
    { name: "backend", of: (row) => row.label },
    { name: "workload", of: (row) => row.at.workload },
    { name: "dtype", of: (row) => row.at.dtype },
    { name: "step time [95 %]", of: (row) => centre(row.step), show: (row) => (row.step ? time(row.step) : row.words), num: true },
    { name: "ratio [95 %]", of: (row) => centre(row.ratio), show: (row) => (row.ratio ? withInterval(row.ratio) : ""), num: true },
    { name: "verdict", of: (row) => (row.step ? row.verdict : row.words), show: (row) => row.verdict.split(":")[0] },
    { name: "operation", of: (row) => row.at.operation },
    { name: "batch", of: (row) => row.at.batch, num: true },
    { name: "threads", of: (row) => row.at.threads, num: true },
    { name: "division", of: (row) => row.division },
    { name: "language", of: (row) => row.language },
    { name: "status", of: (row) => row.words },
    { name: "GFLOP/s", of: (row) => row.gflops, show: (row) => (row.gflops === null ? "" : fixed(row.gflops)), num: true },
    { name: "of peak", of: (row) => row.share, show: (row) => (row.share === null ? "" : `${fixed(100 * row.share, 2)} %`), num: true },
    { name: "lines", of: (row) => row.lines, show: (row) => row.lines ?? "", num: true },
  ];
  const PAGE = 200;
  const state = { filters: {}, sort: null, down: false, limit: PAGE, picked: [], open: new Set(), search: "" };

  function shown() {
    const found = rows.filter((row) => Object.entries(state.filters).every(([key, value]) => String(FILTERS[key].of(row)) === value)
      && (!state.search || `${row.label} ${row.language} ${row.at.title} ${row.words} ${row.reason}`.toLowerCase().includes(state.search)));
    if (state.sort === null) return found;
    const { of } = COLUMNS[state.sort], sign = state.down ? -1 : 1;
    const missing = (value) => value === null || value === undefined || value === "";
    const ordered = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    return found.sort((one, other) => {
      const a = of(one), b = of(other);
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return sign * ordered(a, b) || one.number - other.number;
    });
  }
  function filters() {
    for (const [key, { name, of }] of Object.entries(FILTERS)) {
      const values = [...new Set(rows.map(of))].sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
      if (values.length < 2) continue;
      const list = make("select", { onchange: () => {
        if (list.value) state.filters[key] = list.value.slice(1);
        else delete state.filters[key];
        state.limit = PAGE;
        fillTable();
      } }, make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value: `=${value}` }, String(value))));
      list.dataset.filter = key;
      $("filters").append(make("label", {}, name, list));
    }
    const search = make("input", { type: "search", oninput: () => {
      state.search = search.value.toLowerCase();
      state.limit = PAGE;
      fillTable();
    } });
    $("filters").append(make("label", {}, "contains", search));
  }
  function head() {
    const cells = COLUMNS.map(({ name, num }, i) => {
      const order = state.sort === i ? (state.down ? "descending" : "ascending") : "none";
      return make("th", { scope: "col", className: num ? "num" : "", "aria-sort": order }, make("button", { type: "button", onclick: () => {
        state.down = state.sort === i && !state.down;
        state.sort = i;
        fillTable();
        $("work").querySelectorAll("thead button")[i].focus();
      } }, name));
    });
    return make("thead", {}, make("tr", {}, make("th", { scope: "col", className: "tools" }, "mark"), make("th", { scope: "col" }, "samples"), ...cells));
  }
  function lineOf(row) {
    const box = make("input", { type: "checkbox", checked: state.picked.includes(row), "aria-label": `mark ${row.label}, ${row.at.title}`, onchange: () => mark(row, box.checked) });
    const cells = COLUMNS.map(({ of, show, num }, i) => make(i ? "td" : "th", { className: num ? "num" : "", ...(i ? {} : { scope: "row" }) }, String((show ?? of)(row) ?? "")));
    const open = make("button", { type: "button", "aria-expanded": String(state.open.has(row)), "aria-label": `open ${row.label}, ${row.at.title}`, onclick: () => toggle(row, line, open) }, row.samples ? strip(row) : "open");
    const line = make("tr", { className: state.picked.includes(row) ? "picked" : "" }, make("td", { className: "tools" }, box), make("td", { className: "strip" }, open), ...cells);
    line.dataset.row = row.number;
    return line;
  }
  function fillTable() {
    const found = shown(), body = make("tbody");
    for (const row of found.slice(0, state.limit)) {
      const line = lineOf(row);
      body.append(line);
      if (state.open.has(row)) body.append(inside(row));
    }
    $("work").replaceChildren(make("table", { className: "plain" }, make("caption", {}, make("span", {}, "Every backend in every case. Ratio: to the reference of the row's case; above 1 is faster.")), head(), body));
    $("count").textContent = `${found.length} of ${rows.length} rows${found.length > state.limit ? `; the first ${state.limit} are shown` : ""}.`;
    $("more-rows").hidden = found.length <= state.limit;
    $("more-rows").textContent = `Show all ${found.length} rows`;
    hint();
  }
  /** Say that the table goes on to the right, where it does. */
  function hint() {
    $("work-hint").hidden = $("work").scrollWidth <= $("work").clientWidth + 1;
  }
  function mark(row, on) {
    state.picked = on ? [...state.picked, row].slice(-2) : state.picked.filter((other) => other !== row);
    for (const line of $("work").querySelectorAll("tr[data-row]")) {
      const picked = state.picked.includes(rows[+line.dataset.row]);
      line.classList.toggle("picked", picked);
      line.querySelector("input").checked = picked;
    }
    const [one, other] = state.picked;
    if (!one) $("marked").replaceChildren();
    else say($("marked"), other ? compared(one, other) : [`${one.named} is marked. Mark a second row of ${one.at.title}.`, ""]);
  }
  function toggle(row, line, button) {
    const on = !state.open.has(row);
    button.setAttribute("aria-expanded", String(on));
    if (on) {
      state.open.add(row);
      line.after(inside(row));
    } else {
      state.open.delete(row);
      line.nextElementSibling.remove();
    }
  }

  // Samples ---------------------------------------------------------------------------------------------------------
  function blocks(row) {
    const [middle, outliers, ...launchesOf] = row.samples, out = new Set(outliers);
    let i = 0;
    return launchesOf.flatMap((values, launch) => values.map((value, round) => ({ launch, round, seconds: middle * (1 + value / 1000), outlier: out.has(i++) })));
  }
  function scale(values, low, high) {
    const least = Math.min(...values), most = Math.max(...values);
    return (value) => (most > least ? low + ((value - least) / (most - least)) * (high - low) : (low + high) / 2);
  }
  function strip(row) {
    const found = blocks(row), x = scale(found.map((_, i) => i), 3, 107), y = scale(found.map((block) => block.seconds), 19, 3);
    const path = found.map((block, i) => `M${x(i).toFixed(1)} ${y(block.seconds).toFixed(1)}h0`).join("");
    return draw("svg", { class: `strip b${row.look}`, width: 110, height: 22, role: "img", "aria-label": `${found.length} blocks` }, draw("path", { d: path }));
  }
  function bigStrip(row) {
    const found = blocks(row), launchesOf = found.at(-1).launch + 1, seconds = found.map((block) => block.seconds);
    const least = Math.min(...seconds), most = Math.max(...seconds), unit = unitOf(least), height = 170;
    const y = scale(seconds, height - 34, 12), place = scale(found.map((_, i) => i + 2 * found[i].launch), 1, 99);
    const words = `${found.length} timed blocks in ${launchesOf} launches, from ${fixed(least / unit[1], 4)} to ${fixed(most / unit[1], 4)} ${unit[0]} a step`;
    const marks = found.map((block, i) => draw("circle", { class: block.outlier ? "out" : "", cx: `${place(i + 2 * block.launch).toFixed(2)}%`, cy: y(block.seconds).toFixed(1), r: 3 },
      Object.assign(draw("title"), { textContent: `launch ${block.launch + 1}, round ${block.round + 1}: ${fixed(block.seconds / unit[1], 4)} ${unit[0]}${block.outlier ? ", outlier" : ""}` })));
    const label = (at, value) => Object.assign(draw("text", { x: 0, y: at, dy: 4 }), { textContent: `${fixed(value / unit[1], 4)} ${unit[0]}` });
    const names = [...Array(launchesOf).keys()].map((launch) => {
      const own = found.map((block, i) => [block, i]).filter(([block]) => block.launch === launch).map(([, i]) => place(i + 2 * launch));
      return Object.assign(draw("text", { x: `${((own[0] + own.at(-1)) / 2).toFixed(2)}%`, y: height - 8, "text-anchor": "middle" }), { textContent: launch ? `${launch + 1}` : "launch 1" });
    });
    const frame = make("div", { style: "display:grid;grid-template-columns:6rem minmax(0,1fr);max-width:56rem" });
    frame.append(draw("svg", { class: "big", width: "100%", height, "aria-hidden": "true" }, label(12, most), label(height - 34, least)),
      draw("svg", { class: `big b${row.look}`, width: "100%", height, role: "img", "aria-label": words, overflow: "visible" }, ...marks, ...names));
    return [make("p", { className: "note" }, `${words}, by ${row.at.clock === "cpu" ? "CPU time" : "wall time"}. Vertical: a linear scale that does not begin at 0. Rings: outliers, which count like the others.`), frame];
  }
  const list = (...items) => make("dl", {}, ...items.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
  function inside(row) {
    const [build, start, first, warm, memory] = row.costs, process = row.process, proof = row.parity;
    const seconds = (value) => (value === null ? "" : `${fixed(value)} s`);
    const facts = list(
      ["status", row.words], ["reason", row.reason], ["to do", row.remedy],
      ["proof", proof ? `${proof[0] ? "passed" : "not shown"}, ${proof[1]} comparisons with the oracle; nearest to its bound: ${text(proof[2])}, error ${shortNumber(proof[3])}, allowed ${shortNumber(proof[4])}` : ""],
      ["build", row.build], ["device", row.device], ["lines of code", row.lines], ["threads seen", row.threads],
      ["to build", seconds(build)], ["to start", seconds(start)], ["to the end of the first step", seconds(first)], ["warm-up", seconds(warm)],
      ["peak memory", memory === null ? "" : `${fixed(memory / 2 ** 20)} MiB`],
      ["blocks", process ? `${process[1]} in ${process[0]} launches; ${process[2]} outliers (kept), ${process[3]} turns repeated` : ""],
      ["CPU per wall second", process && process[4] !== null ? fixed(process[4], 2) : ""],
      ["switches a second", process && process[5] !== null ? fixed(process[5], 2) : ""],
      ["share of the time off the CPU", process && process[6] !== null ? `${fixed(100 * process[6], 2)} %` : ""],
    );
    const drawn = row.samples ? bigStrip(row) : [make("p", { className: "note" }, row.step ? "The samples are in results.json." : "No samples.")];
    return make("tr", { className: "inside" }, make("td", { colSpan: COLUMNS.length + 2 }, make("div", { className: "box" }, ...drawn, facts)));
  }
  const shortNumber = (value) => (typeof value === "number" ? value.toPrecision(2) : "not finite");

  // Downloads ---------------------------------------------------------------------------------------------------------
  function download(name, type, content) {
    const address = URL.createObjectURL(new Blob([content], { type }));
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
  /** Quote a cell; a text that a spreadsheet would take for a formula gets an apostrophe. */
  function cell(value) {
    if (value === null || value === undefined) return "";
    const plain = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  }
  function csv() {
    const three = (estimate) => [0, 1, 2].map((i) => estimate?.[i] ?? null);
    const names = ["created", "cpu_model", "workload", "operation", "dtype", "threads", "members", "batch", "clock", "backend", "language", "division", "device", "status", "reason",
      "step_seconds", "step_seconds_low", "step_seconds_high", "reference", "ratio", "ratio_low", "ratio_high", "verdict", "gflops", "ceiling_share", "source_lines"];
    const lines = shown().map((row) => [data.runs[row.at.run].created, data.runs[row.at.run].cpu, row.at.workload, row.at.operation, row.at.dtype, row.at.threads, row.at.members, row.at.batch,
      row.at.clock, row.backend, row.language, row.division, row.device, row.status, row.reason, ...three(row.step), row.at.reference, ...three(row.ratio), row.verdict, row.gflops, row.share, row.lines]);
    return [names, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  /** Give the tables that are a grid on a phone their roles, which the grid would take from them. */
  function roles() {
    const of = { table: "table", thead: "rowgroup", tbody: "rowgroup", tr: "row", "thead th": "columnheader", "tbody th": "rowheader", td: "cell" };
    for (const [selector, role] of Object.entries(of)) {
      const all = ["table.steps", "table.answers"].map((table) => (selector === "table" ? table : `${table} ${selector}`)).join();
      for (const node of document.querySelectorAll(all)) node.setAttribute("role", role);
    }
  }

  // Theme, printing -----------------------------------------------------------------------------------------------------
  const THEMES = ["automatic", "light", "dark"];
  function theme(name) {
    if (name === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    $("theme").textContent = `Theme: ${name}`;
    $("theme").dataset.now = name;
    try {
      localStorage.setItem("pyfnn-theme", name);
    } catch { /* a page opened from a file may have no storage */ }
  }
  function kept() {
    try {
      return THEMES.find((name) => name === localStorage.getItem("pyfnn-theme")) ?? "automatic";
    } catch {
      return "automatic";
    }
  }
  /** Keep the height of the header, so that what gets the focus does not stop below it. */
  function header() {
    const bar = document.querySelector(".top");
    const measure = () => {
      const sticks = getComputedStyle(bar).position === "sticky";
      document.documentElement.style.setProperty("--top", `${sticks ? bar.offsetHeight + 8 : 8}px`);
    };
    new ResizeObserver(measure).observe(bar);
    addEventListener("resize", measure);
    measure();
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")].filter((node) => !node.closest("[hidden]"));
    for (const node of closed) node.open = true;
  });
  addEventListener("afterprint", () => {
    for (const node of closed) node.open = false;
  });

  $("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf($("theme").dataset.now) + 1) % 3]));
  $("theme").hidden = false;
  theme(kept());
  roles();
  header();
  casePicker(compareForm());
  chips();
  filters();
  fillTable();
  new ResizeObserver(hint).observe($("work"));
  $("more-rows").addEventListener("click", () => {
    state.limit = Infinity;
    fillTable();
  });
  $("csv").addEventListener("click", () => download("pyfnn-rows.csv", "text/csv;charset=utf-8", csv()));
  $("json").addEventListener("click", () => download("pyfnn-report.json", "application/json", JSON.stringify(data)));
  $("csv").hidden = $("json").hidden = false;
})();
