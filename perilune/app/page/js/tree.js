// A chat is a tree: an edit or another try is a new branch beside the old one, and nothing is overwritten.

export class Tree {
  constructor(messages = [], leaf = null) {
    this.nodes = new Map();
    this.children = new Map();
    this.leaf = leaf;
    for (const message of messages) this.add(message);
    if (!this.nodes.has(leaf)) this.leaf = messages.at(-1)?.id ?? null;
  }

  add(message) {
    if (this.nodes.has(message.id)) return void Object.assign(this.nodes.get(message.id), message);
    this.nodes.set(message.id, message);
    const parent = message.parent ?? null;
    if (!this.children.has(parent)) this.children.set(parent, []);
    this.children.get(parent).push(message.id);
  }

  /** From the first message to the leaf. */
  path() {
    const path = [];
    const seen = new Set();
    for (let id = this.leaf; id !== null && id !== undefined && !seen.has(id); id = this.nodes.get(id)?.parent) {
      seen.add(id);
      if (this.nodes.has(id)) path.push(this.nodes.get(id));
    }
    return path.reverse();
  }

  /** The branches at a message: its ids in the order they were made, and which of them this is. */
  branches(id) {
    const all = this.children.get(this.nodes.get(id).parent ?? null);
    return { all, at: all.indexOf(id) };
  }

  /** The newest leaf under a message. */
  leafUnder(id) {
    for (let below = this.children.get(id); below?.length; below = this.children.get(id)) id = below.at(-1);
    return id;
  }
}
