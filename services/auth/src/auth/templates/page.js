"use strict";
const form = document.getElementById("form");
const password = document.getElementById("password");
const answer = document.getElementById("answer");
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (!token) {
  form.hidden = true;
  answer.textContent = "This link is not whole. Open it from the letter once more.";
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  answer.textContent = "";
  try {
    const response = await fetch(form.dataset.operation, {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(password ? {token, password: password.value} : {token}),
    });
    if (response.ok) {
      history.replaceState(null, "", location.pathname);
      form.hidden = true;
      document.getElementById("text").hidden = true;
      answer.textContent = form.dataset.done;
      return;
    }
    const problem = await response.json();
    const faults = (problem.errors || []).map((fault) => `${fault.field}: ${fault.message}`);
    answer.textContent = [problem.detail, ...faults].join(" ");
  } catch {
    answer.textContent = "There was no answer. Try again.";
  }
  button.disabled = false;
});
