import { actOf, type Act } from "./acts";
import { element } from "./dom";
import type { Problem } from "./problem";
import { isSeverity, SEVERITIES, severityName } from "./severity";

/** Zabbix keeps so many characters of a message. */
const MAX_MESSAGE = 2048;

/** Asks what is to be done with a problem. Built when it is first opened: who may not act has no trace of it. */
export class ActDialog {
  private dialog: HTMLDialogElement | undefined;

  constructor(private readonly send: (act: Act, problem: Problem) => void) {}

  get isOpen(): boolean {
    return this.dialog?.open ?? false;
  }

  open(problem: Problem): void {
    this.dialog?.remove();
    const acknowledge = element("input", { type: "checkbox", name: "acknowledge" });
    const message = element("textarea", { name: "message", rows: "3", maxlength: String(MAX_MESSAGE), "data-testid": "act-message" });
    const severity = element(
      "select",
      { name: "severity" },
      element("option", { value: "" }, `Leave it: ${severityName(problem.severity)}`),
      ...SEVERITIES.filter((level) => level !== problem.severity).map((level) => element("option", { value: String(level) }, severityName(level))),
    );
    const close = element("input", { type: "checkbox", name: "close" });
    const missing = element("p", { class: "act-missing", role: "alert" });
    const cancel = element("button", { type: "button", class: "tool" }, "Cancel");
    const form = element(
      "form",
      { method: "dialog", class: "act-form" },
      element("h2", { id: "act-title" }, problem.name),
      element("p", { class: "hint" }, `${problem.host.name} · ${severityName(problem.severity)}${problem.acknowledged ? " · acknowledged" : ""}`),
      element("label", { class: "check" }, acknowledge, problem.acknowledged ? "Take the acknowledgement back" : "Acknowledge"),
      element("label", { class: "act-field" }, element("span", {}, "Comment"), message),
      element("label", { class: "act-field" }, element("span", {}, "Severity"), severity),
      element("label", { class: "check" }, close, "Close the problem"),
      missing,
      element("div", { class: "act-buttons" }, element("button", { type: "submit", class: "tool primary", "data-testid": "act-send" }, "Send to Zabbix"), cancel),
    );
    const dialog = element("dialog", { class: "act-dialog", "aria-labelledby": "act-title", "data-testid": "act-dialog" }, form);
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (this.dialog === dialog) this.dialog = undefined;
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const level = Number(severity.value);
      const act = actOf(problem.event_id, {
        acknowledge: acknowledge.checked && !problem.acknowledged,
        unacknowledge: acknowledge.checked && problem.acknowledged,
        message: message.value,
        severity: severity.value !== "" && isSeverity(level) ? level : undefined,
        close: close.checked,
      });
      if (act === undefined) {
        missing.textContent = "Choose what to do, or write a comment.";
        return;
      }
      dialog.close();
      this.send(act, problem);
    });
    message.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    document.body.append(dialog);
    this.dialog = dialog;
    dialog.showModal();
    acknowledge.focus();
  }
}
