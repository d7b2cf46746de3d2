/**
 * A profile as a flame graph in one SVG file: a box a function in its place among its callers, as wide as its share of the time,
 * callers below. Boxes carry a <title>, which browsers show and search; a click magnifies one, and `Search` marks by name.
 */
import type { ProfileFrame } from './call-stacks.ts';
import type { Profile } from './profile.ts';

const WIDTH = 1200;
const MARGIN = 10;
const ROW = 17;
const HEAD = 44;
const FOOT = 26;
/** Narrower boxes, in pixels, are left out. */
const MIN_WIDTH = 0.2;
/** Width of a character of the text. */
const CHARACTER = 6.6;

interface Node {
  readonly frame: ProfileFrame | undefined;
  readonly children: Map<ProfileFrame, Node>;
  ns: number;
}

interface Box {
  readonly node: Node;
  readonly depth: number;
  /** Where it begins, in nanoseconds of the whole. */
  readonly start: number;
}

export function flameGraphSvg(profile: Profile, title: string): string {
  const root: Node = { frame: undefined, children: new Map(), ns: 0 };
  for (const { stack, weightNs } of profile.samples) {
    let node = root;
    node.ns += weightNs;
    for (const frame of stack) {
      let child = node.children.get(frame);
      if (child === undefined) {
        child = { frame, children: new Map(), ns: 0 };
        node.children.set(frame, child);
      }
      child.ns += weightNs;
      node = child;
    }
  }
  const boxes: Box[] = [];
  place(root, 0, 0, boxes, (root.ns * MIN_WIDTH) / (WIDTH - 2 * MARGIN));
  const depth = Math.max(0, ...boxes.map((box) => box.depth));
  const height = HEAD + (depth + 1) * ROW + FOOT;
  const figures = `${profile.samples.length} samples, ${seconds(profile.durationNs)} of running time`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">`,
    `<style>.f{cursor:pointer}.f:hover rect{stroke:#000;stroke-width:.6}.f text{pointer-events:none}.m rect{fill:#c050d8}.o{opacity:.45}#search,#reset{cursor:pointer;fill:#05a}</style>`,
    `<rect width="100%" height="100%" fill="#fffdf6"/>`,
    `<text x="${WIDTH / 2}" y="20" text-anchor="middle" font-size="15">${escapeXml(title)}</text>`,
    `<text x="${MARGIN}" y="38" fill="#555">${figures}</text>`,
    `<text id="reset" x="${WIDTH - 150}" y="38">Reset</text>`,
    `<text id="search" x="${WIDTH - 90}" y="38">Search</text>`,
    `<text id="info" x="${MARGIN}" y="${height - 9}" fill="#333"> </text>`,
    '<g id="boxes">',
    ...boxes.map((box) => boxText(box, root.ns, height)),
    '</g>',
    `<script><![CDATA[${SCRIPT}]]></script>`,
    '</svg>',
    '',
  ].join('\n');
}

function place(node: Node, depth: number, start: number, boxes: Box[], least: number): void {
  boxes.push({ node, depth, start });
  let at = start;
  const byName = [...node.children.values()].sort((a, b) => ((a.frame?.name ?? '') < (b.frame?.name ?? '') ? -1 : 1));
  for (const child of byName) {
    if (child.ns >= least) place(child, depth + 1, at, boxes, least);
    at += child.ns;
  }
}

function boxText({ node, depth, start }: Box, totalNs: number, height: number): string {
  const share = totalNs > 0 ? node.ns / totalNs : 1;
  const left = totalNs > 0 ? start / totalNs : 0;
  const x = MARGIN + left * (WIDTH - 2 * MARGIN);
  const width = share * (WIDTH - 2 * MARGIN);
  const y = height - FOOT - (depth + 1) * ROW;
  const name = node.frame?.name ?? 'all';
  const kind = node.frame === undefined || node.frame.kind === 'root' ? '' : ` (${node.frame.kind})`;
  const title = `${name}${kind}: ${seconds(node.ns)}, ${(share * 100).toFixed(2)} %`;
  const n = (value: number): string => value.toFixed(2);
  return (
    `<g class="f" data-l="${left.toFixed(7)}" data-w="${share.toFixed(7)}" data-d="${depth}" data-n="${escapeXml(name)}">` +
    `<title>${escapeXml(title)}</title><rect x="${n(x)}" y="${y}" width="${n(width)}" height="${ROW - 1}" rx="1" fill="${color(node.frame)}"/>` +
    `<text x="${n(x + 3)}" y="${y + 12}">${escapeXml(fitted(name, width))}</text></g>`
  );
}

function fitted(name: string, width: number): string {
  const characters = Math.floor((width - 5) / CHARACTER);
  if (characters < 3) return '';
  return name.length <= characters ? name : `${name.slice(0, characters - 1)}…`;
}

/** Warm for the kernel, cool for programs; a name always has the same shade. */
function color(frame: ProfileFrame | undefined): string {
  if (frame === undefined || frame.kind === 'root') return '#d8d4c8';
  let hash = 0;
  for (const character of frame.name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 1009;
  const hue = frame.kind === 'kernel' ? 18 + (hash % 34) : 150 + (hash % 60);
  return `hsl(${hue} 72% ${66 + (hash % 12)}%)`;
}

function seconds(ns: number): string {
  return ns >= 1e9 ? `${(ns / 1e9).toFixed(2)} s` : `${(ns / 1e6).toFixed(2)} ms`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** Runs in the browser that shows the file. */
const SCRIPT = `
const M=${MARGIN},W=${WIDTH - 2 * MARGIN},C=${CHARACTER};
const boxes=[...document.querySelectorAll('.f')];
const info=document.getElementById('info');
const num=(g,k)=>Number(g.dataset[k]);
function show(l,w,depth){
  for(const g of boxes){
    const a=num(g,'l'),b=num(g,'w'),below=num(g,'d')<depth;
    const x0=Math.max((a-l)/w,0),x1=Math.min((a+b-l)/w,1);
    const px=(x1-x0)*W,r=g.querySelector('rect'),t=g.querySelector('text'),n=g.dataset.n;
    g.style.display=x1-x0>1e-9&&px>=.2?'':'none';
    g.classList.toggle('o',below);
    r.setAttribute('x',M+x0*W);r.setAttribute('width',Math.max(px,0));t.setAttribute('x',M+x0*W+3);
    const c=Math.floor((px-5)/C);
    t.textContent=c<3?'':n.length<=c?n:n.slice(0,c-1)+'\\u2026';
  }
}
for(const g of boxes){
  g.addEventListener('click',()=>show(num(g,'l'),num(g,'w'),num(g,'d')));
  g.addEventListener('mouseover',()=>{info.textContent=g.querySelector('title').textContent});
}
document.getElementById('reset').addEventListener('click',()=>{show(0,1,0);for(const g of boxes)g.classList.remove('m');info.textContent=' '});
document.getElementById('search').addEventListener('click',()=>{
  const text=prompt('Functions whose name matches (regular expression):');
  if(text===null)return;
  let found=[];
  for(const g of boxes){const hit=text!==''&&new RegExp(text).test(g.dataset.n);g.classList.toggle('m',hit);if(hit)found.push([num(g,'l'),num(g,'l')+num(g,'w')])}
  found.sort((a,b)=>a[0]-b[0]||b[1]-a[1]);
  let sum=0,end=0;
  for(const [a,b] of found){if(b>end){sum+=b-Math.max(a,end);end=b}}
  info.textContent=text===''?' ':'/'+text+'/ matches '+(sum*100).toFixed(2)+' %';
});
`;
