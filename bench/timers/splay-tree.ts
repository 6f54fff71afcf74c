/**
 * A candidate: a top-down splay tree (Sleator and Tarjan, 1985), as libcurl keeps its timers in (lib/splay.c). Nodes of one
 * deadline form a ring behind the one that is in the tree. `nearest` splays, as libcurl's Curl_splaygetbest does.
 */

import type { TimerSet } from './candidate.ts';

export class SplayNode {
  deadline = 0;
  /** In the tree, in a ring behind a node of the tree, or neither. */
  place: 'tree' | 'ring' | 'out' = 'out';
  left: SplayNode | null = null;
  right: SplayNode | null = null;
  /** The ring of equal deadlines. */
  next: SplayNode = this;
  previous: SplayNode = this;
}

export class SplayTree implements TimerSet<SplayNode> {
  size = 0;
  #root: SplayNode | null = null;
  readonly #header = new SplayNode();

  get nearest(): number {
    if (this.#root === null) return Number.POSITIVE_INFINITY;
    this.#root = this.#splay(Number.NEGATIVE_INFINITY, this.#root);
    return this.#root.deadline;
  }

  set(node: SplayNode, deadline: number): void {
    if (node.place !== 'out') {
      if (node.deadline === deadline) return;
      this.cancel(node);
    }
    this.size++;
    node.deadline = deadline;
    if (this.#root === null) {
      this.#become(node, null, null);
      return;
    }
    const root = this.#splay(deadline, this.#root);
    this.#root = root;
    if (root.deadline === deadline) {
      node.place = 'ring';
      node.next = root;
      node.previous = root.previous;
      root.previous.next = node;
      root.previous = node;
    } else if (deadline < root.deadline) {
      const { left } = root;
      root.left = null;
      this.#become(node, left, root);
    } else {
      const { right } = root;
      root.right = null;
      this.#become(node, root, right);
    }
  }

  cancel(node: SplayNode): void {
    if (node.place === 'out') return;
    this.size--;
    const { place, next, previous } = node;
    node.place = 'out';
    if (next !== node) {
      previous.next = next;
      next.previous = previous;
      node.next = node;
      node.previous = node;
    }
    if (place === 'ring') return;
    const root = this.#splay(node.deadline, this.#root as SplayNode);
    const { left, right } = root;
    root.left = null;
    root.right = null;
    if (next !== node) this.#become(next, left, right);
    else if (left === null) this.#root = right;
    else {
      // Its greatest comes up, and has nothing to its right then.
      const top = this.#splay(Number.POSITIVE_INFINITY, left);
      top.right = right;
      this.#root = top;
    }
  }

  takeDue(now: number): SplayNode | null {
    if (this.nearest > now) return null;
    const root = this.#root;
    // One of the ring first: it costs the tree nothing.
    const node = root === null || root.next === root ? root : root.next;
    if (node !== null) this.cancel(node);
    return node;
  }

  #become(node: SplayNode, left: SplayNode | null, right: SplayNode | null): void {
    node.place = 'tree';
    node.left = left;
    node.right = right;
    this.#root = node;
  }

  /** Brings the node of this deadline, or one that it would stand beside, to the top. */
  #splay(deadline: number, root: SplayNode): SplayNode {
    const header = this.#header;
    header.left = null;
    header.right = null;
    let left = header;
    let right = header;
    let top = root;
    for (;;) {
      if (deadline < top.deadline) {
        let child = top.left;
        if (child === null) break;
        if (deadline < child.deadline) {
          top.left = child.right;
          child.right = top;
          top = child;
          child = top.left;
          if (child === null) break;
        }
        right.left = top;
        right = top;
        top = child;
      } else if (deadline > top.deadline) {
        let child = top.right;
        if (child === null) break;
        if (deadline > child.deadline) {
          top.right = child.left;
          child.left = top;
          top = child;
          child = top.right;
          if (child === null) break;
        }
        left.right = top;
        left = top;
        top = child;
      } else break;
    }
    left.right = top.left;
    right.left = top.right;
    top.left = header.right;
    top.right = header.left;
    return top;
  }
}
