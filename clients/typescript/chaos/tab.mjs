// The storage of a client's outbox, as one tab uses it, and what the judge learns from it.

/** A storage as one tab uses it: after the tab was closed, nothing reaches it, and nothing comes back. */
export class Tab {
  isClosed = false; #underWay = new Set();

  constructor(storage, outbox) { Object.assign(this, { storage, outbox }); }

  load() { return this.#do(() => this.storage.load()); }

  put(entry) {
    return this.#do(() => this.storage.put(entry)).then(() => {
      const accepted = this.outbox.room(entry.roomId).get(entry.clientMessageId);
      if (accepted) accepted.isKept = true;
    });
  }

  remove(clientMessageId) { return this.#do(() => this.storage.remove(clientMessageId)); }

  #do(act) {
    const never = new Promise(() => {});
    if (this.isClosed) return never;
    const doing = act();
    this.#underWay.add(doing);
    const done = doing.finally(() => this.#underWay.delete(doing));
    return done.then(value => this.isClosed ? never : value);
  }

  /** Returns when the operating system is done with what was under way. */
  async close() {
    this.isClosed = true;
    await Promise.allSettled(this.#underWay);
  }
}
