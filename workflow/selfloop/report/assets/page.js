"use strict";
// Draw every chart, and let its checkboxes show and hide what bears their regime or model as a tag.
window.charts = Array.from(document.querySelectorAll(".chart"), async (chart) => {
  const item = JSON.parse(chart.querySelector('script[type="application/json"]').textContent);
  const view = await Bokeh.embed.embed_item(item, chart.querySelector(".plot").id);
  const [root] = view.roots;
  const plot = root.model;
  const boxes = Array.from(chart.querySelectorAll("input"));
  const update = () => {
    const off = (kind, name) => boxes.some((box) => box.dataset[kind] === name && !box.checked);
    for (const part of plot.renderers) {
      const [regime, series] = part.glyph.tags;
      part.visible = !off("regime", regime) && !off("series", series);
    }
  };
  boxes.forEach((box) => box.addEventListener("change", update));
  update();
  return root;
});
Promise.all(window.charts).then(() => {
  document.documentElement.dataset.ready = Math.round(performance.now());
});
// A link from the table of claims opens the folded table that it leads to.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
};
window.addEventListener("hashchange", unfold);
unfold();
