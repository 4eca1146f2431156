"use strict";
// Draw the charts one after another, so that the first can be used while the others are drawn; a chart's checkboxes show
// and hide what bears their regime or model as a tag.
const draw = async (chart) => {
  const item = JSON.parse(chart.querySelector('script[type="application/json"]').textContent);
  const view = await Bokeh.embed.embed_item(item, chart.querySelector(".plot").id);
  const [root] = view.roots;
  const boxes = Array.from(chart.querySelectorAll("input"));
  const update = () => {
    const off = (kind, name) => boxes.some((box) => box.dataset[kind] === name && !box.checked);
    for (const part of root.model.renderers) {
      const [regime, series] = part.glyph.tags;
      part.visible = !off("regime", regime) && !off("series", series);
    }
  };
  boxes.forEach((box) => box.addEventListener("change", update));
  if (boxes.some((box) => !box.checked)) update(); // a browser may keep boxes as they were before a reload
  return root;
};
const note = (what) => { document.documentElement.dataset[what] = Math.round(performance.now()); };
window.charts = (async () => {
  const drawn = [];
  for (const chart of document.querySelectorAll(".chart")) {
    drawn.push(await draw(chart));
    if (drawn.length === 1) note("usable");
    await new Promise((next) => setTimeout(next)); // the reader's clicks come first
  }
  note("ready");
  return drawn;
})();
// A link from the table of claims opens the folded table that it leads to.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
};
window.addEventListener("hashchange", unfold);
unfold();
