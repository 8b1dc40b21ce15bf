"use strict";
// Everything that is shown was read from the queue: it reaches the page as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const clips = data.clips;
  const $ = (id) => document.getElementById(id);
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  // -------------------------------------------------------------- small tools

  /** An element with properties, attributes (names with a dash, or `role`) and children; texts become text nodes. */
  function make(tag, given = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (value === undefined || value === null) continue;
      if (name.includes("-") || name === "role") node.setAttribute(name, value);
      else node[name] = value;
    }
    node.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
    return node;
  }

  /** Micro-dollars as people write them; whole numbers all the way, as in the ledger. */
  function usd(micros) {
    const whole = Math.floor(Math.abs(micros) / 1e6);
    const rest = String(Math.abs(micros) % 1e6).padStart(6, "0");
    const sign = micros < 0 ? "-" : "";
    return `${sign}$${whole.toLocaleString("en-US")}.${rest.slice(0, 2)}${rest.slice(2).replace(/0+$/, "")}`;
  }
  /** An address as a person reads it; names of files need not be text. */
  function readable(address) {
    try { return decodeURIComponent(address); } catch { return address; }
  }
  const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
  const moment = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const seconds = (s) => (s < 90 ? `${Math.round(s * 10) / 10}\u00a0s` : s < 5400 ? `${Math.round(s / 6) / 10}\u00a0min` : `${Math.round(s / 360) / 10}\u00a0h`);
  const bytes = (size) => (size < 1e6 ? `${Math.max(1, Math.round(size / 1e3))} kB` : `${(size / 1e6).toFixed(1)} MB`);
  const sum = (list, value) => list.reduce((total, one) => total + (value(one) || 0), 0);
  const tally = (values) => {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return counts;
  };
  const by = (value) => (one, other) => value(one) - value(other);

  const TONE = {
    done: "good", queued: "", cancelled: "", submitting: "cool", running: "cool", downloading: "cool",
    unknown: "warm", parked: "warm", rejected: "bad", lost: "bad", failed: "bad",
  };
  const badge = (state) => make("span", { className: `state ${TONE[state] || ""}` }, state);
  const adviceOn = (clip) => data.advice[clip.kind] || (clip.kind ? { what: clip.kind } : undefined);

  // -------------------------------------------------------------- light and dark

  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  function showTheme() {
    $("theme").textContent = isDark() ? "☀ Light" : "☾ Dark";
  }
  function switchTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("batchrun-theme", root.dataset.theme); } catch { /* a page from a file may not store */ }
    showTheme();
  }
  try {
    const stored = localStorage.getItem("batchrun-theme");
    if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  } catch { /* the system's choice stands */ }
  dark.addEventListener("change", showTheme);
  $("theme").addEventListener("click", switchTheme);
  showTheme();

  // -------------------------------------------------------------- totals

  const took = clips.filter((clip) => clip.took_ms !== undefined).map((clip) => clip.took_ms / 1000).sort((a, b) => a - b);
  const quantile = (part) => took[Math.min(took.length - 1, Math.floor(part * took.length))];
  const troubled = clips.filter((clip) => ["warm", "bad"].includes(TONE[clip.state]));
  const batchMoney = data.statements.filter((one) => one.scope === "batch");

  function tile(name, value, more, tone = "") {
    $("tiles").append(make("dl", { className: `tile ${tone}` }, make("dt", {}, name), make("dd", {}, value, more ? make("small", {}, more) : "")));
  }
  function showTotals() {
    const done = clips.filter((clip) => clip.state === "done");
    const held = sum(batchMoney, (one) => one.held);
    const due = sum(batchMoney, (one) => one.lines.refund_due.held);
    const words = [data.preview ? "Preview: moved pictures, not generated, free" : "", `as of ${moment(data.made_ms)}`];
    $("subtitle").textContent = words.filter(Boolean).join(" · ");
    tile("Clips", done.length.toLocaleString("en-US"), done.length === clips.length ? "all delivered" : `delivered, of ${clips.length.toLocaleString("en-US")}`);
    if (!data.preview) tile("Net cost", usd(sum(batchMoney, (one) => one.spent)), held ? `and ${usd(held)} held` : "nothing held");
    if (due) tile("Refunds awaited", usd(due), "part of what is held", "warm");
    tile("Footage", seconds(sum(done, (clip) => clip.length_s)), bytes(sum(done, (clip) => clip.bytes)));
    if (took.length) tile("Median time", seconds(quantile(0.5)), `95\u00a0% within ${seconds(quantile(0.95))}`);
    if (troubled.length) tile("Not fine", troubled.length.toLocaleString("en-US"), "see Figures for what to do", "bad");
  }

  // -------------------------------------------------------------- search, filters, order

  const wanted = { words: [], state: "", batch: "", tag: "", warning: "", kind: "" };
  const order = {
    manifest: ["Manifest order", by((clip) => clip.at)],
    newest: ["Newest first", by((clip) => -clip.changed_ms)],
    dearest: ["Dearest first", by((clip) => -(clip.cost || 0))],
    slowest: ["Slowest first", by((clip) => -(clip.took_ms || 0))],
    id: ["By id", (one, other) => (one.id < other.id ? -1 : 1)],
  };
  const batchAt = new Map(data.batches.map((name, at) => [name, at]));
  clips.sort((one, other) => batchAt.get(one.batch) - batchAt.get(other.batch) || one.position - other.position || order.id[1](one, other));
  clips.forEach((clip, at) => {
    clip.at = at;
    clip.tags ||= [];
    clip.warnings ||= [];
    clip.hay = [clip.batch, clip.id, clip.prompt, clip.negative, clip.tags.join("\n"), clip.prediction, clip.message, clip.kind, clip.warnings.join("\n")]
      .join("\n").toLowerCase();
  });
  let shown = clips;

  function choose() {
    const { words, state, batch, tag, warning, kind } = wanted;
    shown = clips.filter((clip) =>
      (!state || clip.state === state) && (!batch || clip.batch === batch) && (!kind || clip.kind === kind) &&
      (!tag || clip.tags.includes(tag)) && (!warning || (warning === "*" ? clip.warnings.length : clip.warnings.includes(warning))) &&
      words.every((word) => clip.hay.includes(word)));
    shown.sort(order[$("sort").value][1]);
    for (const button of $("states").children) button.setAttribute("aria-pressed", String(button.value === state));
    const money = data.preview ? "" : `, ${usd(sum(shown, (clip) => clip.cost))}`;
    $("count").textContent = shown.length === clips.length ? count(clips.length, "clip") : `${shown.length.toLocaleString("en-US")} of ${count(clips.length, "clip")}${money}`;
    $("empty").hidden = shown.length > 0;
    active = 0;
    layOut();
  }

  function fill(select, first, values) {
    select.append(make("option", { value: "" }, first));
    for (const [value, number] of values) select.append(make("option", { value }, `${value} (${number})`));
    select.hidden = !values.length;
    select.addEventListener("change", () => { wanted[select.id] = select.value; choose(); });
  }

  function clear() {
    Object.assign(wanted, { words: [], state: "", batch: "", tag: "", warning: "", kind: "" });
    for (const id of ["search", "batch", "tag", "warning"]) $(id).value = "";
    choose();
  }

  function showFilters() {
    const states = tally(clips.map((clip) => clip.state));
    const chip = (value, text, number) => make("button", { type: "button", value }, text, make("span", {}, number.toLocaleString("en-US")));
    const listed = data.states.filter((state) => states.has(state));
    if (listed.length > 1) {
      $("states").append(chip("", "All", clips.length), ...listed.map((state) => chip(state, state, states.get(state))));
    }
    $("states").hidden = listed.length < 2;
    $("states").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) { wanted.state = button.value; wanted.kind = ""; choose(); }
    });
    const often = (one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1);
    const batches = [...tally(clips.map((clip) => clip.batch))];
    fill($("batch"), "All batches", batches.length > 1 ? batches : []);
    fill($("tag"), "All tags", [...tally(clips.flatMap((clip) => [...new Set(clip.tags)]))].sort(often));
    const warned = clips.filter((clip) => clip.warnings.length);
    fill($("warning"), "Warned or not", [...tally(warned.flatMap((clip) => [...new Set(clip.warnings)]))].sort(often));
    if (warned.length) $("warning").children[0].after(make("option", { value: "*" }, `Any warning (${warned.length})`));
    for (const [value, [text]] of Object.entries(order)) $("sort").append(make("option", { value }, text));
    $("sort").addEventListener("change", choose);
    let due = 0;
    $("search").addEventListener("input", () => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(() => { wanted.words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean); choose(); });
    });
    $("clear").addEventListener("click", clear);
  }

  // -------------------------------------------------------------- the grid: only cards near the window exist

  const MIN_REM = 17, TEXT_REM = 7.1;
  const grid = $("grid");
  const cards = new Map();
  let active = 0, columns = 1, step = { x: 1, y: 1 };

  function drop(clip) {
    const card = cards.get(clip);
    nearby.unobserve(card.querySelector(".open"));
    release(card);
    card.remove();
    cards.delete(clip);
  }

  function layOut() {
    const rem = parseFloat(getComputedStyle(root).fontSize), gap = 1.1 * rem, width = grid.clientWidth;
    if (!width) return;
    columns = Math.max(1, Math.floor((width + gap) / (MIN_REM * rem + gap)));
    const card = { width: (width + gap) / columns - gap };
    card.height = Math.round(card.width * 0.72 + TEXT_REM * rem);
    step = { x: card.width + gap, y: card.height + gap, card };
    grid.style.height = `${Math.max(0, Math.ceil(shown.length / columns) * step.y - gap)}px`;
    draw();
  }
  function put(node, at) {
    const { card, x, y } = step;
    node.style.width = `${card.width}px`;
    node.style.height = `${card.height}px`;
    node.style.transform = `translate(${(at % columns) * x}px, ${Math.floor(at / columns) * y}px)`;
    node.dataset.at = at;
    node.setAttribute("aria-posinset", at + 1);
    node.setAttribute("aria-setsize", shown.length);
    node.querySelector(".open").tabIndex = at === active ? 0 : -1;
  }

  /** Make the cards near the window, keep those that are there, drop the rest; in the page they stand in their order. */
  function draw() {
    if (grid.offsetParent === null) return;
    const top = -grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((top - innerHeight * 0.6) / step.y)) * columns;
    const last = Math.min(shown.length, Math.ceil((top + innerHeight * 1.6) / step.y) * columns);
    const wanted = [];
    for (let at = first; at < last; at += 1) wanted.push(at);
    if (active < first) wanted.unshift(active);
    else if (active >= last && active < shown.length) wanted.push(active);
    const kept = new Set(wanted.map((at) => shown[at]));
    for (const clip of [...cards.keys()]) if (!kept.has(clip)) drop(clip);
    let next = grid.firstElementChild;
    for (const at of wanted) {
      const clip = shown[at], node = cards.get(clip) || cardOf(clip);
      put(node, at);
      if (node === next) next = next.nextElementSibling;
      else grid.insertBefore(node, next);
      if (!cards.has(clip)) {
        cards.set(clip, node);
        if (clip.video && !clip.poster) nearby.observe(node.querySelector(".open"));
      }
    }
  }
  const cardAt = (at) => cards.get(shown[at]);

  let drawing = 0;
  const drawSoon = () => { drawing ||= requestAnimationFrame(() => { drawing = 0; draw(); }); };
  addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(layOut).observe(grid);
  addEventListener("resize", layOut);

  function cardOf(clip) {
    const pale = !clip.video, shape = clip.width / clip.height;
    const whole = shape < 0.95 || shape > 2.1 ? " whole" : "";
    const open = make("button", { type: "button", className: `open${pale ? " pale" : ""}${whole}`, "aria-label": `${clip.id}, ${clip.state}` });
    const image = clip.poster || (pale && clip.picture);
    if (image) open.append(stillOf(clip, image, open));
    if (clip.state !== "done") open.append(make("span", { className: "mark" }, badge(clip.state)));
    if (clip.video && clip.length_s) open.append(make("span", { className: "length" }, seconds(clip.length_s)));
    const trouble = clip.message && clip.state !== "done";
    const cost = data.preview ? "" : make("span", { className: "money" }, clip.held && !clip.cost ? `${usd(clip.held)} held` : usd(clip.cost || 0));
    const marks = [...clip.warnings.map((text) => make("span", { className: "tag warned" }, `⚠ ${text}`)), ...clip.tags.map((text) => make("span", { className: "tag", dir: "auto" }, text))];
    return make("li", { className: "card" },
      open,
      make("div", { className: "text" },
        make("div", { className: "line" }, make("span", { className: "id", title: clip.id }, clip.id), cost),
        make("p", { className: `prompt${trouble ? ` trouble ${TONE[clip.state]}` : ""}`, dir: "auto" }, trouble ? clip.message : clip.prompt),
        make("div", { className: "tags" }, ...marks)));
  }

  /** A poster that is not here (the folder was handed on without the queue's) gives way to the clip's own first frame. */
  function stillOf(clip, source, open) {
    const still = make("img", { src: source, alt: "", loading: "lazy", decoding: "async" });
    still.addEventListener("error", () => {
      still.remove();
      if (!clip.poster) return;
      clip.poster = "";
      nearby.observe(open);
    });
    return still;
  }

  // -------------------------------------------------------------- a clip plays while it is pointed at

  const clipOf = (card) => shown[+card.dataset.at];

  /** The card's video: made when it is wanted, at its beginning. */
  function videoOf(card) {
    const open = card.querySelector(".open");
    let video = open.querySelector("video");
    if (!video) {
      const clip = clipOf(card);
      video = make("video", { muted: true, loop: true, playsInline: true, preload: "metadata", disablePictureInPicture: true, tabIndex: -1, "aria-hidden": "true" });
      video.addEventListener("error", () => { video.remove(); missing(open); });
      video.src = clip.poster ? clip.video : `${clip.video}#t=0.1`;
      open.prepend(video);
      if (clip.poster) open.append(video);
    }
    return video;
  }
  function release(card) {
    clearTimeout(card.due);
    const video = card.querySelector("video");
    if (!video) return;
    video.pause();
    video.removeAttribute("src");
    video.load();
    video.remove();
  }
  function missing(open) {
    if (!open.querySelector(".gone")) open.append(make("span", { className: "gone" }, "The clip is not here: was the page moved without its folder?"));
  }

  // Without a poster the clip's own first frame is one, for as long as the card is to be seen; not while it flies by.
  const nearby = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const card = target.closest(".card");
      release(card);
      if (isIntersecting) card.due = setTimeout(videoOf, 150, card);
    }
  }, { rootMargin: "150px" });

  let playing = null;
  let waits = 0;
  function play(card) {
    if (playing === card) return;
    stop();
    if (!card || !clipOf(card).video) return;
    playing = card;
    waits = setTimeout(() => { videoOf(card).play().catch(() => {}); }, 120);
  }
  function stop() {
    clearTimeout(waits);
    if (!playing) return;
    const card = playing, video = card.querySelector("video");
    playing = null;
    if (video && clipOf(card)?.poster) release(card);
    else if (video) { video.pause(); video.currentTime = 0.1; }
  }
  grid.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") play(event.target.closest(".card")); });
  grid.addEventListener("pointerleave", stop);
  grid.addEventListener("focusin", (event) => { setActive(+event.target.closest(".card").dataset.at); play(event.target.closest(".card")); });
  grid.addEventListener("focusout", stop);
  grid.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card && !getSelection().toString()) show(+card.dataset.at);
  });

  function setActive(at) {
    const before = cardAt(active)?.querySelector(".open");
    if (before) before.tabIndex = -1;
    active = at;
    const now = cardAt(active)?.querySelector(".open");
    if (now) now.tabIndex = 0;
  }
  function moveTo(at, focus = true) {
    if (!shown.length) return;
    setActive(Math.min(shown.length - 1, Math.max(0, at)));
    const y = Math.floor(active / columns) * step.y, top = grid.getBoundingClientRect().top + scrollY;
    const room = document.querySelector(".bar").offsetHeight + 8;
    if (top + y - room < scrollY) scrollTo(0, top + y - room);
    else if (top + y + step.card.height > scrollY + innerHeight - 8) scrollTo(0, top + y + step.card.height - innerHeight + 8);
    draw();
    if (focus) cardAt(active).querySelector(".open").focus({ preventScroll: true });
  }

  // -------------------------------------------------------------- one clip: picture and clip side by side

  const detail = $("detail");
  let current = 0;

  function figure(name, content) {
    return make("figure", {}, make("figcaption", {}, name), make("div", { className: "frame" }, content));
  }
  const absent = (text) => make("p", { className: "gone" }, text);

  function pictureOf(clip) {
    if (!clip.picture) return absent("The picture is an address on the web; it is not loaded here.");
    const image = make("img", { src: clip.picture, alt: `The picture of ${clip.id}` });
    image.addEventListener("error", () => image.replaceWith(absent("The picture is not here.")));
    return image;
  }
  function filmOf(clip) {
    if (!clip.video) return absent(clip.state === "queued" ? "Not made yet." : "There is no clip.");
    const video = make("video", { src: clip.video, controls: true, loop: true, muted: true, playsInline: true, autoplay: !still.matches });
    video.addEventListener("error", () => video.replaceWith(absent("The clip is not here: was the page moved without its folder?")));
    return video;
  }

  function facts(clip) {
    const size = clip.width && `${clip.width} × ${clip.height}`;
    const rows = [
      ["Batch", clip.batch], ["Tags", clip.tags.join(", ")], ["Model", clip.model],
      ["Asked for", `${clip.asked_s} s, guidance ${clip.guidance}${clip.take > 1 ? `, take ${clip.take}` : ""}`],
      ["Clip", [size, clip.length_s && seconds(clip.length_s), clip.fps && `${clip.fps} fps`, clip.bytes && bytes(clip.bytes)].filter(Boolean).join(", ")],
      ["Cost", data.preview ? "free" : `${usd(clip.cost || 0)}${clip.held ? `, ${usd(clip.held)} held` : ""}`],
      ["Attempts", clip.attempts ? String(clip.attempts) : clip.state === "done" ? "none: copied from another job" : "none"],
      ["Sent", clip.submitted_ms && moment(clip.submitted_ms)],
      ["Took", clip.took_ms !== undefined && seconds(clip.took_ms / 1000)],
      ["Prediction", clip.prediction, "mono"], ["SHA-256", clip.sha256, "mono"],
    ];
    const list = make("dl", { className: "facts" });
    for (const [name, value, look] of rows) if (value) list.append(make("dt", {}, name), make("dd", { className: look || "" }, value));
    if (clip.video) list.append(make("dt", {}, "File"), make("dd", {}, make("a", { href: clip.video, className: "mono" }, readable(clip.video))));
    if (/^https?:\/\//i.test(clip.picture_url)) list.append(make("dt", {}, "Picture"), make("dd", {}, make("a", { href: clip.picture_url, rel: "noreferrer noopener", target: "_blank" }, clip.picture_url)));
    return list;
  }
  function section(name, text) {
    return text ? make("div", {}, make("h3", {}, name), make("p", { dir: "auto" }, text)) : "";
  }
  function trouble(clip) {
    const advice = adviceOn(clip);
    if (clip.state === "done" || !(clip.message || advice)) return "";
    return make("div", { className: `advice ${TONE[clip.state] === "bad" ? "" : "warm"}` },
      section(advice ? advice.what : "What happened", clip.message || "No further word."), advice && advice.todo ? section("What to do", advice.todo) : "");
  }

  function show(at) {
    if (at < 0 || at >= shown.length) return;
    current = at;
    const clip = shown[at];
    const pressed = detail.contains(document.activeElement) && document.activeElement.title;
    stop();
    const button = (text, label, act, off) => {
      const one = make("button", { type: "button", className: "quiet", disabled: Boolean(off), "aria-label": label, title: label }, text);
      one.addEventListener("click", act);
      return one;
    };
    detail.replaceChildren(
      make("div", { className: "head" },
        make("h2", { id: "detail-title" }, make("span", {}, clip.id), badge(clip.state)),
        button("←", "Previous clip", () => show(current - 1), at === 0),
        button("→", "Next clip", () => show(current + 1), at === shown.length - 1),
        button("✕", "Close", () => detail.close())),
      make("div", { className: "pair" }, figure("Picture", pictureOf(clip)), figure("Clip", filmOf(clip))),
      make("div", { className: "words" },
        make("div", { className: "block" }, trouble(clip), section("Prompt", clip.prompt), section("Not wanted", clip.negative),
          section("Warnings", clip.warnings.filter((text) => !text.startsWith("preview: ")).join("\n")),
          section("Not shown by this preview", (clip.not_shown || []).join("\n"))),
        facts(clip)));
    if (!detail.open) detail.showModal();
    detail.scrollTop = 0;
    const again = pressed && [...detail.querySelectorAll(".head button:enabled")].find((one) => one.title === pressed);
    (again || detail).focus();
  }
  detail.addEventListener("close", () => {
    if (detail.open) return; // opened again meanwhile
    detail.replaceChildren();
    moveTo(current);
  });
  detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });

  // -------------------------------------------------------------- figures

  function panel(name, words, ...content) {
    return make("div", { className: "panel" }, make("h2", {}, name), words ? make("p", {}, words) : "", ...content);
  }
  /** Columns of {label, title, parts: [[height, class]], top}; heights share one scale. */
  function chart(columnsOf) {
    const highest = Math.max(1, ...columnsOf.map((one) => sum(one.parts, (part) => part[0])));
    const each = Math.ceil(columnsOf.length / 14);
    const box = make("div", { className: "chart", role: "img", "aria-label": columnsOf.map((one) => one.title).join("; ") });
    columnsOf.forEach((one, at) => {
      const column = make("div", { className: "column", title: one.title });
      if (one.top && each === 1) column.append(make("u", {}, one.top));
      for (const [height, look] of one.parts) {
        if (!height) continue;
        const bar = make("i", { className: look });
        bar.style.height = `${(height / highest) * 88}%`;
        column.append(bar);
      }
      if (at % each === 0) column.append(make("b", {}, one.label));
      box.append(column);
    });
    return box;
  }

  function daysPanel() {
    const days = data.days.filter((day) => day.spent || day.held);
    if (!days.length) return "";
    const words = days.some((day) => day.held) ? "Spent, and in the paler part above it what is held." : "Spent, by the day on which it was reserved.";
    return panel("Money by day", words, chart(days.map((day) => ({
      label: day.day.slice(5), top: usd(day.spent + day.held), parts: [[day.held, "held"], [day.spent, ""]],
      title: `${day.day}: ${usd(day.spent)} spent${day.held ? `, ${usd(day.held)} held` : ""}`,
    }))));
  }
  function latencyPanel() {
    if (!took.length) return "";
    const end = Math.max(quantile(0.99), took[0], 0.1);
    const wide = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200].find((one) => end / one <= 22) || end / 22;
    const bins = new Array(Math.max(1, Math.ceil((end + 1e-9) / wide))).fill(0);
    for (const one of took) bins[Math.min(bins.length - 1, Math.floor(one / wide))] += 1;
    const words = `From submit to finished at the provider: median ${seconds(quantile(0.5))}, 95 % within ${seconds(quantile(0.95))}, slowest ${seconds(took[took.length - 1])}.`;
    return panel("Time for a clip", words, chart(bins.map((number, at) => ({
      label: seconds(at * wide), top: number ? String(number) : "", parts: [[number, ""]],
      title: `${seconds(at * wide)} to ${at === bins.length - 1 ? seconds(took[took.length - 1]) : seconds((at + 1) * wide)}: ${count(number, "clip")}`,
    }))));
  }
  function failuresPanel() {
    const kinds = [...tally(clips.filter((clip) => clip.kind && clip.state !== "done").map((clip) => clip.kind))].sort((one, other) => other[1] - one[1]);
    if (!kinds.length) return "";
    const box = panel("What is not fine, and what to do", "");
    for (const [kind, number] of kinds) {
      const advice = data.advice[kind] || { what: kind, todo: "" };
      const button = make("button", { type: "button", className: "quiet" }, `Show ${number.toLocaleString("en-US")}`);
      button.addEventListener("click", () => { clear(); wanted.kind = kind; choose(); openTab("clips"); });
      box.append(make("div", { className: "failure" }, make("p", {}, `${advice.what} `, make("span", { className: "mono" }, kind)), make("p", {}, advice.todo), button));
    }
    return box;
  }
  function statementPanel(one) {
    const table = make("table", {}, make("tr", {}, ...["", "Number", "Held", "Cost"].map((text) => make("th", { scope: "col" }, text))));
    const row = (name, number, held, spent, look = "") => table.append(make("tr", { className: look }, make("td", {}, name), make("td", {}, number), make("td", {}, held), make("td", {}, spent)));
    for (const [outcome, text] of Object.entries(data.outcomes)) {
      const line = one.lines[outcome];
      if (!line.attempts && outcome !== "delivered") continue;
      const more = outcome === "refunded" && line.price ? ` (${usd(line.price)} back)` : "";
      row(text + more, line.attempts.toLocaleString("en-US"), line.held ? usd(line.held) : "", usd(line.spent));
      if (outcome === "delivered" && one.copied) row("Copied from another job, free", one.copied.toLocaleString("en-US"), "", usd(0));
    }
    row("Net cost", "", one.held ? usd(one.held) : "", usd(one.spent), "sum");
    return panel(`Statement: ${one.scope} ${one.name}`, one.scope === "campaign" ? "Over every manifest of the queue that names the campaign." : "", table);
  }
  function showFigures() {
    const failures = failuresPanel();
    if (failures) failures.classList.add("wide");
    $("figures").append(...[failures, daysPanel(), latencyPanel(), ...data.statements.map(statementPanel)].filter(Boolean));
  }

  // -------------------------------------------------------------- views and keys

  function openTab(name) {
    for (const one of ["clips", "figures"]) {
      $(one).hidden = one !== name;
      $(`tab-${one}`).setAttribute("aria-selected", String(one === name));
      $(`tab-${one}`).tabIndex = one === name ? 0 : -1;
    }
    if (name === "clips") layOut();
  }
  for (const one of ["clips", "figures"]) $(`tab-${one}`).addEventListener("click", () => openTab(one));
  document.querySelector(".tabs").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = $("clips").hidden ? "clips" : "figures";
    openTab(other);
    $(`tab-${other}`).focus();
  });

  const MOVES = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns, ArrowDown: () => columns, Home: () => -shown.length, End: () => shown.length };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, select, textarea");
    if (detail.open) {
      if (event.target.closest?.("video")) return;
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") { event.preventDefault(); show(current + (event.key === "ArrowLeft" ? -1 : 1)); }
    } else if (typing) {
      if (event.key === "Escape" && typing.id === "search") { typing.value = ""; clear(); }
      if (event.key === "ArrowDown" && typing.id === "search") { event.preventDefault(); moveTo(0); }
    } else if (event.key === "/") {
      event.preventDefault();
      openTab("clips");
      $("search").focus();
    } else if (event.key === "t") {
      switchTheme();
    } else if (MOVES[event.key] && event.target.closest?.("#grid")) {
      event.preventDefault();
      moveTo(active + MOVES[event.key]());
    }
  });

  showTotals();
  showFilters();
  showFigures();
  choose();
})();
