"use strict";
(() => {
  const form = document.querySelector("form[data-webauthn]");
  const button = form.querySelector("button");
  const failed = document.getElementById("failed");
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
  const text = (data) => btoa(String.fromCharCode(...new Uint8Array(data))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  const known = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));
  const options = JSON.parse(form.dataset.options);
  options.challenge = bytes(options.challenge);
  const made = form.dataset.webauthn === "create";
  if (made) {
    options.user.id = bytes(options.user.id);
    options.excludeCredentials = known(options.excludeCredentials);
  } else {
    options.allowCredentials = known(options.allowCredentials);
  }
  const answered = (key) => {
    const told = key.response;
    const response = { clientDataJSON: text(told.clientDataJSON) };
    if (made) {
      response.attestationObject = text(told.attestationObject);
      response.transports = told.getTransports ? told.getTransports() : [];
    } else {
      response.authenticatorData = text(told.authenticatorData);
      response.signature = text(told.signature);
      response.userHandle = told.userHandle ? text(told.userHandle) : null;
    }
    return JSON.stringify({ id: key.id, rawId: text(key.rawId), type: key.type, response, clientExtensionResults: {} });
  };
  if (!window.PublicKeyCredential) return;
  document.getElementById("without").hidden = true;
  document.getElementById("with").hidden = false;
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    button.setAttribute("aria-disabled", "true");
    failed.hidden = true;
    failed.textContent = "";
    try {
      const asked = { publicKey: options };
      const key = made ? await navigator.credentials.create(asked) : await navigator.credentials.get(asked);
      form.elements.answer.value = answered(key);
      form.submit();
    } catch (error) {
      busy = false;
      button.removeAttribute("aria-disabled");
      failed.textContent = error.name === "InvalidStateError" ? form.dataset.taken : form.dataset.failed;
      failed.hidden = false;
      failed.focus();
    }
  });
})();
