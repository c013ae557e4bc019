// Seeded randomness: the same seed and name give the same choices.

/** A generator of choices (mulberry32). */
export class Random {
  #state;

  constructor(seed) { this.#state = seed >>> 0; }

  /** Returns a generator whose choices do not depend on how many this one has made. */
  static named(seed, name) {
    let hash = seed >>> 0;
    for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
    return new Random(hash);
  }

  /** Returns a number from 0 up to, but not including, 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = this.#state;
    bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Returns an integer from `low` to `high`, both included. */
  between(low, high) { return low + Math.floor(this.next() * (high - low + 1)); }

  chance(probability) { return this.next() < probability; }

  pick(list) { return list[Math.floor(this.next() * list.length)]; }

  /** Picks a key of an object whose values are weights. */
  weighted(weights) {
    const entries = Object.entries(weights);
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    return entries.find(([, weight]) => (left -= weight) < 0)?.[0] ?? entries.at(-1)[0];
  }
}
