/** Typed events and disposal: whoever subscribes or registers gets back the one object that undoes it. */

/** Something to undo. Disposing twice is harmless. */
export interface Disposable {
  dispose(): void;
}

/** Makes a Disposable of a function, which is called at most once. */
export function toDisposable(undo: () => void): Disposable {
  let done = false;
  return {
    dispose(): void {
      if (done) return;
      done = true;
      undo();
    },
  };
}

/** Collects disposables and undoes them in reverse order. */
export class DisposableStore implements Disposable {
  private readonly items: Disposable[] = [];

  add<T extends Disposable>(item: T): T {
    this.items.push(item);
    return item;
  }

  dispose(): void {
    for (let item = this.items.pop(); item; item = this.items.pop()) item.dispose();
  }
}

/**
 * An emitter whose event names and payloads are given by a type:
 *
 *     const power = new Emitter<{ poweroff: undefined; "debug-exit": number }>();
 *     const subscription = power.on("debug-exit", (status) => ...);
 *     power.emit("debug-exit", 33);
 */
export class Emitter<Events extends object> {
  private readonly listeners = new Map<keyof Events, ((payload: never) => void)[]>();

  on<Name extends keyof Events>(name: Name, listener: (payload: Events[Name]) => void): Disposable {
    // INVARIANT: emit() hands a listener under `name` nothing but Events[name].
    // Arrays are replaced, never changed, so that a listener may subscribe or dispose while being called.
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener as (payload: never) => void]);
    return toDisposable(() => {
      const rest = (this.listeners.get(name) ?? []).filter((entry) => entry !== listener);
      this.listeners.set(name, rest);
    });
  }

  once<Name extends keyof Events>(name: Name, listener: (payload: Events[Name]) => void): Disposable {
    const subscription = this.on(name, (payload) => {
      subscription.dispose();
      listener(payload);
    });
    return subscription;
  }

  emit<Name extends keyof Events>(name: Name, payload: Events[Name]): void {
    const listeners = this.listeners.get(name);
    if (!listeners) return;
    // INVARIANT: a listener under `name` was added by on(name) and so takes Events[name].
    for (const listener of listeners) (listener as (payload: Events[Name]) => void)(payload);
  }

  listenerCount(name: keyof Events): number {
    return this.listeners.get(name)?.length ?? 0;
  }
}
