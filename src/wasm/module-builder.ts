/** A WebAssembly module under construction: imports of one shared memory, one function table and functions; its own functions. */
import { ByteWriter } from './byte-writer.ts';
import { VAL_TYPE_CODE } from './expr.ts';
import { FunctionBuilder, type FunctionRef, type Signature } from './function-builder.ts';

export class ModuleBuilder {
  private readonly types: string[] = [];
  private readonly typeBytes = new ByteWriter();
  private readonly imports: { module: string; name: string; type: number }[] = [];
  private readonly importIndex = new Map<string, FunctionRef>();
  private readonly functions: { builder: FunctionBuilder; type: number; name: string | undefined }[] = [];
  private sealed = false;
  private readonly memoryPages: { initial: number; maximum: number };

  /** `memoryPages`: limits (64 KiB pages) of the shared memory that is imported as env.memory. */
  constructor(memoryPages: { initial: number; maximum: number } = { initial: 1, maximum: 65536 }) {
    this.memoryPages = memoryPages;
  }

  typeIndex(signature: Signature): number {
    const key = `${signature.params.join()}>${signature.results.join()}`;
    const known = this.types.indexOf(key);
    if (known >= 0) return known;
    this.typeBytes.byte(0x60);
    this.typeBytes.u32(signature.params.length);
    for (const type of signature.params) this.typeBytes.byte(VAL_TYPE_CODE[type]);
    this.typeBytes.u32(signature.results.length);
    for (const type of signature.results) this.typeBytes.byte(VAL_TYPE_CODE[type]);
    return this.types.push(key) - 1;
  }

  /** A function from outside. Function indices count imports first, so no import may follow the first use of a `define`d `ref`. */
  importFunction(module: string, name: string, signature: Signature): FunctionRef {
    const key = `${module}.${name}`;
    const known = this.importIndex.get(key);
    if (known !== undefined) return known;
    if (this.sealed) throw new Error(`import of ${key} after the module's own functions were referred to`);
    const ref = { index: this.imports.length, signature };
    this.imports.push({ module, name, type: this.typeIndex(signature) });
    this.importIndex.set(key, ref);
    return ref;
  }

  /** Adds a function; with a `name` it is exported under it. */
  define(signature: Signature, name?: string): { builder: FunctionBuilder; ref: () => FunctionRef } {
    const builder = new FunctionBuilder(signature);
    const position = this.functions.push({ builder, type: this.typeIndex(signature), name }) - 1;
    const ref = (): FunctionRef => {
      this.sealed = true;
      return { index: this.imports.length + position, signature };
    };
    return { builder, ref };
  }

  /** The binary: imports env.memory (shared) and env.table (funcref), then what was asked for. */
  build(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter();
    out.bytes([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);

    section(out, 1, (w) => {
      w.u32(this.types.length);
      w.bytes(this.typeBytes.view());
    });
    section(out, 2, (w) => {
      w.u32(this.imports.length + 2);
      for (const { module, name, type } of this.imports) {
        w.name(module);
        w.name(name);
        w.byte(0x00);
        w.u32(type);
      }
      w.name('env');
      w.name('memory');
      w.bytes([0x02, 0x03]);
      w.u32(this.memoryPages.initial);
      w.u32(this.memoryPages.maximum);
      w.name('env');
      w.name('table');
      w.bytes([0x01, 0x70, 0x00, 0x00]);
    });
    section(out, 3, (w) => {
      w.u32(this.functions.length);
      for (const { type } of this.functions) w.u32(type);
    });
    section(out, 7, (w) => {
      const exported = this.functions.map((f, i) => ({ name: f.name, index: this.imports.length + i }));
      const named = exported.filter((e) => e.name !== undefined);
      w.u32(named.length);
      for (const { name, index } of named) {
        w.name(name ?? '');
        w.byte(0x00);
        w.u32(index);
      }
    });
    const finished = this.functions.map(({ builder }) => builder.finish());
    const hinted = finished.flatMap(({ hints }, i) => (hints.length === 0 ? [] : [{ hints, i }]));
    section(out, 0, (w) => {
      w.name('metadata.code.branch_hint');
      w.u32(hinted.length);
      for (const { hints, i } of hinted) {
        w.u32(this.imports.length + i);
        w.u32(hints.length);
        for (const { offset, likely } of hints) {
          w.u32(offset);
          w.u32(1);
          w.byte(likely ? 1 : 0);
        }
      }
    });
    section(out, 10, (w) => {
      w.u32(finished.length);
      for (const { body } of finished) w.sized(body);
    });
    return out.toBytes();
  }
}

function section(out: ByteWriter, id: number, write: (w: ByteWriter) => void): void {
  const body = new ByteWriter();
  write(body);
  out.byte(id);
  out.sized(body);
}
