// Contrast of the text that stands on a page, by the formula of WCAG 2.

import type { Page } from "playwright-core";

export interface Contrast {
  readonly text: string;
  readonly ratio: number;
}

/** One entry for each visible element with text of its own, or with a placeholder that shows. */
export function contrasts(page: Page): Promise<Contrast[]> {
  return page.evaluate(() => {
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true })!;
    const rgba = (color: string): [number, number, number, number] => {
      probe.clearRect(0, 0, 1, 1);
      probe.fillStyle = color;
      probe.fillRect(0, 0, 1, 1);
      const [r = 0, g = 0, b = 0, a = 0] = probe.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a];
    };
    const luminance = (color: string): number => {
      const [r, g, b] = rgba(color).map((value) => {
        const part = value / 255;
        return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      }) as [number, number, number];
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element: Element | null): string => {
      for (let at = element; at; at = at.parentElement) {
        const { backgroundColor } = getComputedStyle(at);
        if (rgba(backgroundColor)[3] === 255) return backgroundColor;
      }
      return "white";
    };
    const ratio = (front: string, back: string): number => {
      const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a) as [number, number];
      return Math.round(((light + 0.05) / (dark + 0.05)) * 100) / 100;
    };
    const found: { text: string; ratio: number }[] = [];
    for (const element of document.body.querySelectorAll("*")) {
      const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent!.trim() !== "");
      const placeholder = element instanceof HTMLInputElement && element.value === "" ? element.placeholder : "";
      if ((!own && !placeholder) || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
      const color = getComputedStyle(element, placeholder ? "::placeholder" : null).color;
      found.push({ text: placeholder || element.textContent!.trim().slice(0, 40), ratio: ratio(color, ground(element)) });
    }
    return found;
  });
}
