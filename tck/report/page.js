(function () {
  "use strict";
  const root = document.documentElement;
  const form = document.querySelector("form"), area = form.querySelector("select"), search = form.querySelector("input");
  const buttons = [...form.querySelectorAll("[data-verdict]")], rows = [...document.querySelectorAll("tbody tr")];
  const theme = document.getElementById("theme"), count = document.getElementById("count"), none = document.getElementById("none");
  const texts = rows.map(r => (r.textContent + " " + r.dataset.verdict).toLowerCase());
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let state = { verdict: [], area: "", q: "", theme: "" };

  function read() {
    const p = new URLSearchParams(location.hash.slice(1));
    const known = buttons.map(b => b.dataset.verdict);
    state.verdict = (p.get("verdict") || "").split(",").filter(v => v && known.includes(v));
    state.area = [...area.options].some(o => o.value === p.get("area")) ? p.get("area") : "";
    state.q = p.get("q") || "";
    if (["light", "dark"].includes(p.get("theme"))) state.theme = p.get("theme");
    area.value = state.area;
    search.value = state.q;
  }

  function write() {
    const parts = [];
    for (const [k, v] of Object.entries(state)) {
      if (v.length) parts.push(k + "=" + encodeURIComponent(v).replaceAll("%2C", ","));
    }
    try { history.replaceState(null, "", "#" + parts.join("&")); } catch (e) { location.hash = parts.join("&"); }
  }

  function show() {
    const words = state.q.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((r, i) => {
      r.hidden = state.verdict.length > 0 && !state.verdict.includes(r.dataset.verdict) ||
        state.area !== "" && r.dataset.area !== state.area || !words.every(w => texts[i].includes(w));
      if (!r.hidden) shown++;
    });
    for (const b of buttons) {
      const v = b.dataset.verdict;
      b.setAttribute("aria-pressed", String(v ? state.verdict.includes(v) : state.verdict.length === 0));
    }
    count.textContent = shown + " of " + rows.length + " shown";
    none.hidden = shown > 0 || rows.length === 0;
    const isDark = state.theme ? state.theme === "dark" : dark.matches;
    if (state.theme) root.dataset.theme = state.theme;
    theme.textContent = isDark ? "Light theme" : "Dark theme";
  }

  function set(change) {
    Object.assign(state, change);
    write();
    show();
  }

  function toggle(v) {
    if (!v) return [];
    return state.verdict.includes(v) ? state.verdict.filter(o => o !== v) : [...state.verdict, v];
  }

  for (const b of buttons) b.addEventListener("click", () => set({ verdict: toggle(b.dataset.verdict) }));
  area.addEventListener("change", () => set({ area: area.value }));
  search.addEventListener("input", () => set({ q: search.value.trim() }));
  form.addEventListener("submit", e => e.preventDefault());
  theme.addEventListener("click", () => set({ theme: (state.theme ? state.theme === "dark" : dark.matches) ? "light" : "dark" }));
  dark.addEventListener("change", show);
  document.getElementById("reset").addEventListener("click", () => {
    area.value = search.value = "";
    set({ verdict: [], area: "", q: "" });
    search.focus();
  });
  for (const a of document.querySelectorAll(".legend a")) {
    a.addEventListener("click", e => {
      e.preventDefault();
      set({ verdict: [new URLSearchParams(a.hash.slice(1)).get("verdict")] });
      document.getElementById("requirements").scrollIntoView();
    });
  }
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) { read(); show(); }
  });
  addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll("tbody details")) d.open = true;
  });
  new ResizeObserver(() => {
    const sticky = getComputedStyle(form).position === "sticky";
    root.style.setProperty("--filters", (sticky ? form.offsetHeight : 0) + "px");
  }).observe(form);

  if (location.hash.includes("=")) read();
  form.hidden = theme.hidden = false;
  show();
})();
