// A list of any length of which only what is near the screen exists. Heights are measured as items come near, guessed before.
import { h, perFrame } from "./dom.js";

const AHEAD_PX = 900; // rendered above and below what is seen
const FRAME_MS = 4; // for what is not seen yet, of the 16 that a frame has
const NEAR_END_PX = 24;

/** Sums of heights: any prefix and any change in O(log n). */
export class Heights {
  constructor(values) {
    this.values = Float64Array.from(values);
    this.tree = new Float64Array(this.values.length + 1);
    for (let i = 1; i < this.tree.length; i += 1) {
      this.tree[i] += this.values[i - 1];
      const parent = i + (i & -i);
      if (parent < this.tree.length) this.tree[parent] += this.tree[i];
    }
  }

  set(index, value) {
    const change = value - this.values[index];
    this.values[index] = value;
    for (let i = index + 1; i < this.tree.length; i += i & -i) this.tree[i] += change;
  }

  /** The sum of the first `count` heights. */
  before(count) {
    let sum = 0;
    for (let i = count; i > 0; i -= i & -i) sum += this.tree[i];
    return sum;
  }

  /** The item that covers `offset`; the last one beyond the end. */
  at(offset) {
    let index = 0;
    let step = 1 << Math.floor(Math.log2(Math.max(1, this.values.length)));
    for (; step > 0; step >>= 1) {
      if (index + step < this.tree.length && this.tree[index + step] <= offset) {
        index += step;
        offset -= this.tree[index];
      }
    }
    return Math.min(index, this.values.length - 1);
  }
}

export class VirtualList {
  /** `render(item, index)` gives an element, `key(item)` names it, `guess(item)` is a height before it was measured. */
  constructor(scroller, body, { render, key, guess, onEnd = () => {} }) {
    Object.assign(this, { scroller, body, render, key, guess, onEnd });
    this.items = [];
    this.places = new Map();
    this.heights = new Heights([]);
    this.known = new Map();
    this.shown = new Map();
    this.sheet = h("div");
    body.append(this.sheet);
    this.origin = null;
    this.stick = true;
    this.lastTop = 0;
    this.later = perFrame(() => this.layout());
    this.observer = new ResizeObserver((entries) => this.#resized(entries));
    this.observer.observe(scroller);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  setItems(items) {
    this.items = items;
    this.places = new Map(items.map((item, index) => [this.key(item), index]));
    this.heights = new Heights(items.map((item) => this.known.get(this.key(item)) ?? this.guess(item)));
    for (const [key, el] of this.shown) if (!this.places.has(key)) this.#drop(key, el);
    this.layout();
  }

  /** Renders an item anew, where it is shown. */
  refresh(key) {
    const el = this.shown.get(key);
    if (el) this.#drop(key, el);
    this.layout();
  }

  scrollToEnd() {
    this.stick = true;
    this.layout();
  }

  /** Brings an item to the top of the screen and gives its element. */
  reveal(key) {
    const index = this.places.get(key);
    if (index === undefined) return null;
    this.stick = false;
    // What lies between may be measured on the way, so the place is looked up again.
    for (let turn = 0; turn < 3; turn += 1) {
      this.scroller.scrollTop = this.heights.before(index);
      this.layout();
    }
    this.stick = this.#fromEnd() < NEAR_END_PX;
    return this.shown.get(key);
  }

  /** The key of the item at the top of the screen. */
  top() {
    return this.items.length ? this.key(this.items[this.heights.at(this.scroller.scrollTop)]) : null;
  }

  /** `anchor` is what stays where it is on the screen: [the item at the top, pixels of it that are above]. */
  layout(anchor = this.#anchor()) {
    const { scroller, heights } = this;
    if (!this.items.length) return void (this.body.style.height = "0px");
    const { scrollTop, clientHeight } = scroller;
    const end = () => Math.max(0, heights.before(this.items.length) - clientHeight);
    const wanted = () => (this.stick ? end() : heights.before(anchor[0]) + anchor[1]);
    this.#fill(wanted, clientHeight);
    this.body.style.height = `${heights.before(this.items.length)}px`;
    this.#put(wanted());
    this.lastTop = scrollTop;
    if (Math.abs(wanted() - scrollTop) > 0.5) {
      scroller.scrollTop = wanted();
      this.lastTop = scroller.scrollTop;
    }
    this.onEnd(end() - this.lastTop < NEAR_END_PX);
  }

  /** Every place is told from one item near the screen, so that others that turn out taller or smaller move none seen. */
  #put(top) {
    if (!this.shown.has(this.origin)) this.origin = this.key(this.items[this.heights.at(top)]);
    const base = this.heights.before(this.places.get(this.origin));
    this.sheet.style.transform = `translateY(${base}px)`;
    for (const [key, el] of this.shown) {
      const place = `${this.heights.before(this.places.get(key)) - base}px`;
      if (el.style.top !== place) el.style.top = place;
    }
  }

  #anchor() {
    const { scrollTop } = this.scroller;
    const index = this.items.length ? this.heights.at(scrollTop) : 0;
    return [index, scrollTop - this.heights.before(index)];
  }

  /** Makes what is on the screen exist, and of what is near it as much as a frame has time for; lets go of the rest. */
  #fill(top, height) {
    const between = (from, to) => [this.heights.at(Math.max(0, from)), this.heights.at(to)];
    const missing = ([first, last]) => {
      const found = [];
      for (let index = first; index <= last; index += 1) {
        if (!this.shown.has(this.key(this.items[index]))) found.push(index);
      }
      return found;
    };
    const until = performance.now() + FRAME_MS;
    // What was guessed too tall leaves room for more.
    for (let made = true; made; ) made = this.#make(missing(between(top(), top() + height)));
    const near = between(top() - AHEAD_PX, top() + height + AHEAD_PX);
    for (const [key, el] of this.shown) {
      const index = this.places.get(key);
      // What has the focus stays, or the keyboard would lose its place.
      if ((index < near[0] || index > near[1]) && !el.contains(document.activeElement)) this.#drop(key, el);
    }
    const middle = this.heights.at(top() + height / 2);
    const ahead = missing(near).sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    if (this.#make(ahead, until)) this.later();
  }

  /** Makes items and measures them; after the time `until` no more than one. Whether there were any. */
  #make(indexes, until = Infinity) {
    const made = [];
    for (const index of indexes) {
      const el = this.render(this.items[index], index);
      this.#insert(el, index);
      this.shown.set(this.key(this.items[index]), el);
      made.push([this.key(this.items[index]), el]);
      if (performance.now() > until) break;
    }
    for (const [key, el] of made) {
      this.#measured(key, el.offsetHeight);
      this.observer.observe(el);
    }
    return made.length > 0;
  }

  /** Keeps the order of the document, which is the order of screen readers and of the Tab key. */
  #insert(el, index) {
    el.dataset.place = index;
    let next = this.sheet.lastElementChild;
    let after = null;
    for (; next && Number(next.dataset.place) > index; next = next.previousElementSibling) after = next;
    this.sheet.insertBefore(el, after);
  }

  #drop(key, el) {
    this.observer.unobserve(el);
    el.remove();
    this.shown.delete(key);
  }

  /** Whether the height is another one than was thought. */
  #measured(key, height) {
    this.known.set(key, height);
    const index = this.places.get(key);
    if (height <= 0 || Math.abs(this.heights.values[index] - height) <= 0.5) return false;
    this.heights.set(index, height);
    return true;
  }

  #resized(entries) {
    const anchor = this.#anchor();
    const sizes = new Map(entries.map((entry) => [entry.target, entry.target.offsetHeight]));
    let changed = sizes.has(this.scroller);
    for (const [key, el] of this.shown) if (sizes.has(el) && this.#measured(key, sizes.get(el))) changed = true;
    if (changed) this.layout(anchor);
  }

  #scrolled() {
    const { scroller } = this;
    if (scroller.scrollTop < this.lastTop - 1) this.stick = false;
    if (this.#fromEnd() < NEAR_END_PX) this.stick = true;
    this.lastTop = scroller.scrollTop;
    this.later();
  }

  #fromEnd() {
    return this.scroller.scrollHeight - this.scroller.clientHeight - this.scroller.scrollTop;
  }
}
