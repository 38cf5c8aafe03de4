// A list of any length of which only what is near the screen exists. Heights are measured as items come near, guessed before.
import { perFrame } from "./dom.js";

const AHEAD_PX = 900; // rendered above and below what is seen
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

  layout() {
    const { scroller, heights } = this;
    if (!this.items.length) return void (this.body.style.height = "0px");
    const anchor = heights.at(scroller.scrollTop);
    const inside = scroller.scrollTop - heights.before(anchor);
    if (this.stick) this.#fill(heights.before(this.items.length) - scroller.clientHeight);
    else this.#fill(scroller.scrollTop);
    this.body.style.height = `${heights.before(this.items.length)}px`;
    const wanted = this.stick ? scroller.scrollHeight - scroller.clientHeight : heights.before(anchor) + inside;
    if (Math.abs(wanted - scroller.scrollTop) > 0.5) scroller.scrollTop = wanted;
    this.lastTop = scroller.scrollTop;
    for (const [key, el] of this.shown) el.style.transform = `translateY(${heights.before(this.places.get(key))}px)`;
    this.onEnd(this.#fromEnd() < NEAR_END_PX);
  }

  /** Makes what is near `top` exist and lets go of the rest; what was made is measured at once. */
  #fill(top) {
    const first = this.heights.at(Math.max(0, top - AHEAD_PX));
    const last = this.heights.at(top + this.scroller.clientHeight + AHEAD_PX);
    for (const [key, el] of this.shown) {
      const index = this.places.get(key);
      // What has the focus stays, or the keyboard would lose its place.
      if ((index < first || index > last) && !el.contains(document.activeElement)) this.#drop(key, el);
    }
    const made = [];
    for (let index = first; index <= last; index += 1) {
      const key = this.key(this.items[index]);
      if (this.shown.has(key)) continue;
      const el = this.render(this.items[index], index);
      this.#insert(el, index);
      this.shown.set(key, el);
      made.push([key, el]);
    }
    for (const [key, el] of made) {
      this.#measured(key, el.offsetHeight);
      this.observer.observe(el);
    }
  }

  /** Keeps the order of the document, which is the order of screen readers and of the Tab key. */
  #insert(el, index) {
    el.dataset.place = index;
    let next = this.body.lastElementChild;
    let after = null;
    for (; next && Number(next.dataset.place) > index; next = next.previousElementSibling) after = next;
    this.body.insertBefore(el, after);
  }

  #drop(key, el) {
    this.observer.unobserve(el);
    el.remove();
    this.shown.delete(key);
  }

  #measured(key, height) {
    this.known.set(key, height);
    const index = this.places.get(key);
    if (height > 0 && Math.abs(this.heights.values[index] - height) > 0.5) this.heights.set(index, height);
  }

  #resized(entries) {
    const anchor = this.items.length ? this.heights.at(this.scroller.scrollTop) : 0;
    const inside = this.scroller.scrollTop - this.heights.before(anchor);
    const sizes = new Map(entries.map((entry) => [entry.target, entry.target.offsetHeight]));
    for (const [key, el] of this.shown) if (sizes.has(el)) this.#measured(key, sizes.get(el));
    const total = this.heights.before(this.items.length);
    this.body.style.height = `${total}px`;
    if (!this.stick && this.items.length) {
      const wanted = this.heights.before(anchor) + inside;
      if (Math.abs(wanted - this.scroller.scrollTop) > 0.5) this.scroller.scrollTop = wanted;
    }
    this.layout();
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
