"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const keys = Object.keys(data.controls);
  const columns = Object.entries(data.columns);
  const rows = data.columns.id.map((_, place) => Object.fromEntries(columns.map(([name, values]) => [name, values[place]])));
  const at = (id) => document.getElementById("explorer-" + id);
  const chosen = {};
  const views = {};

  const matches = (row, upTo) => keys.slice(0, upTo).every((key) => row[key] === chosen[key]);
  const number = (value) => (value === null ? "–" : Number(value.toPrecision(3)).toString());

  function makeControls() {
    for (const key of keys) {
      const label = document.createElement("label");
      label.textContent = data.controls[key] + " ";
      const select = document.createElement("select");
      select.id = "explorer-" + key;
      select.addEventListener("change", () => { chosen[key] = select.value; update(); });
      label.append(select);
      at("controls").append(label);
    }
  }

  // Every control offers what is there under the choices before it; a choice that is still there stays.
  function settle() {
    keys.forEach((key, place) => {
      const options = [...new Set(rows.filter((row) => matches(row, place)).map((row) => row[key]))];
      if (!options.includes(chosen[key])) chosen[key] = options[0];
      const select = at(key);
      select.replaceChildren(...options.map((text) => new Option(text, text, false, text === chosen[key])));
      select.disabled = options.length < 2;
    });
    return rows.find((row) => matches(row, keys.length));
  }

  function picture(id, place, alt) {
    const image = at(id);
    image.hidden = place === null;
    at(id + "-none").hidden = place !== null;
    if (place !== null) image.src = data.pictures[place];
    image.alt = alt;
  }

  function describe(row) {
    const words = row.refused ? "refused: " + row.refused : row.diverged ? "diverged"
      : row.outcome + (row.certified ? " and certified it" : "");
    return "This attack " + words + ". This image, over all attacks: " + row.verdict + ".";
  }

  function show(row) {
    picture("original", row.original, "the client's image, target " + row.target);
    picture("rebuilt", row.rebuilt, "what " + row.attack + " made of it under " + row.defense);
    at("said").textContent = describe(row);
    at("place").textContent = row.place === null ? "–"
      : row.place + " of " + row.of + " by MSE (1: nearest to its image); median " + number(row.median);
    at("floor").textContent = row.floor === null ? row.reason
      : number(row.floor) + " (normalised MSE)" + (row.times === null ? "" : ", " + number(row.times) + " times undefended");
    at("accuracy").textContent = row.accuracy === null ? "not trained"
      : (100 * row.accuracy).toFixed(1) + " %" + (row.cost === null ? "" : ", lost " + (100 * row.cost).toFixed(1) + " points");
    at("metrics").replaceChildren(...Object.entries(data.metrics).map(([name, words]) => {
      const line = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = words;
      line.append(head, ...[name, "grey_" + name, "class_mean_" + name].map((column) => {
        const cell = document.createElement("td");
        cell.className = "number";
        cell.textContent = number(row[column]);
        return cell;
      }));
      return line;
    }));
  }

  async function draw(id, chart, name, rows, row) {
    const spec = structuredClone(data.charts[chart]);
    spec.datasets = { [name]: rows.map((one) => ({ ...one, picked: one.id === row.id })) };
    if (views[id]) views[id].finalize();
    views[id] = await vegaEmbed(at(id), spec, { ast: true, actions: false, renderer: "svg" });
    views[id].view.addEventListener("click", (event, item) => {
      const picked = item && item.datum && rows.find((one) => one.id === item.datum.id);
      if (picked) pick(picked);
    });
  }

  function pick(row) {
    for (const key of keys) chosen[key] = row[key];
    update();
  }

  let last = Promise.resolve();
  function update() {
    const row = settle();
    show(row);
    const setting = rows.filter((one) => one.setting === row.setting && one.mse_pixel !== null);
    const cell = setting.filter((one) => one.defense === row.defense && one.attack === row.attack && one.seed === row.seed);
    const trained = setting.every((one) => one.accuracy !== null);
    last = last.then(() => draw("scatter", trained ? "trained" : "untrained", "rows", setting, row))
      .then(() => draw("strip", "cell", "cell", cell, row))
      .then(() => { document.getElementById("explorer").dataset.shown = row.id; });
  }

  makeControls();
  pick(rows.find((one) => one.id === data.first));
})();
