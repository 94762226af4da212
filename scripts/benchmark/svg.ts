/** What charts are drawn with: nothing but plain SVG and one style sheet, readable on light and on dark ground. Pure. */

const style = `
    text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2430; }
    .title { font-size: 18px; font-weight: 600; }
    .note { font-size: 11px; fill: #5b6472; }
    .cell { font-weight: 600; }
    .ground { fill: #ffffff; }
    .track { fill: #eef0f4; }
    .ours { fill: #2f6fde; }
    .peer { fill: #98a1b0; }
    .spread { stroke: #1f2430; stroke-width: 1.5; }
    .curve { stroke: #2f6fde; stroke-width: 2; fill: none; }
    .grid { stroke: #eef0f4; }
    .end { text-anchor: end; }
    .middle { text-anchor: middle; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6e9ef; }
      .note { fill: #9aa4b2; }
      .ground { fill: #14171d; }
      .track { fill: #232832; }
      .ours { fill: #6ba1ff; }
      .peer { fill: #6d7787; }
      .spread { stroke: #e6e9ef; }
      .curve { stroke: #6ba1ff; }
      .grid { stroke: #232832; }
    }
  `;

export function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };
  return text.replace(/[&<>"']/g, (c) => entities[c] ?? c);
}

export const at = (n: number): string => n.toFixed(1);

export function textAt(x: number, y: number, text: string, kind = ''): string {
  return `<text x="${at(x)}" y="${at(y)}"${kind === '' ? '' : ` class="${kind}"`}>${escapeXml(text)}</text>`;
}

/** `body`: elements, one a line. */
export function svgDocument(title: string, width: number, height: number, body: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${String(width)}" height="${String(height)}" viewBox="0 0 ${String(width)} ${String(height)}" role="img">`,
    `  <title>${escapeXml(title)}</title>`,
    `  <style>${style}</style>`,
    `  <rect class="ground" width="${String(width)}" height="${String(height)}"/>`,
    ...body.map((l) => `  ${l}`),
    '</svg>',
    '',
  ].join('\n');
}
