"use strict";
const form = document.getElementById("filters");
const models = [...form.querySelectorAll("[data-model]")];
const fields = [...form.elements].filter((field) => field.name && field.name !== "text");
const cards = [...document.querySelectorAll(".sample")].map((card) => ({
  card,
  outcomes: card.dataset.outcomes.split(" "),
  text: card.textContent.toLowerCase(),
}));

const fits = (wanted, outcome) => !wanted || outcome === wanted || (wanted === "not_hit" && outcome !== "hit");

function filter() {
  const text = form.elements.text.value.trim().toLowerCase();
  let shown = 0;
  for (const { card, outcomes, text: own } of cards) {
    const fit =
      models.every((model, index) => fits(model.value, outcomes[index])) &&
      fields.every((field) => !field.value || card.dataset[field.name] === field.value) &&
      own.includes(text);
    card.hidden = !fit;
    shown += fit;
  }
  form.querySelector("output").value = `${shown} of ${cards.length} shown`;
}

form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
for (const button of document.querySelectorAll("button[data-hit]")) {
  button.addEventListener("click", () => {
    for (const field of [...models, ...fields, form.elements.text]) field.value = "";
    models[button.dataset.hit].value = "hit";
    models[button.dataset.lost].value = "not_hit";
    filter();
    document.getElementById("samples").scrollIntoView();
  });
}
form.hidden = false;
filter();
