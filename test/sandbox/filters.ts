/** Filters over system calls without a kernel: an interpreter of them, and what they are asked about. */

/** Verdicts of a filter: the call is made, or it fails with an error (seccomp(2)). */
export const ALLOW = 0x7fff_0000;
export const ENOSYS = 0x0005_0000 | 38;
export const EACCES = 0x0005_0000 | 13;
export const EPERM = 0x0005_0000 | 1;

/** Interfaces of machines as a filter is told them (AUDIT_ARCH_*, linux/audit.h). */
export const X64 = 0xc000_003e;
export const I386 = 0x4000_0003;
export const ARM64 = 0xc000_00b7;
export const ARM = 0x4000_0028;

/** What the kernel does with a call: classic BPF, as far as filters of ours use it (bpf(4)). */
export function verdict(
  filter: Uint8Array,
  audit: number,
  call: number,
  ...args: number[]
): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call, true);
  data.setUint32(4, audit, true);
  for (const [index, value] of args.entries())
    data.setBigUint64(16 + index * 8, BigInt(value), true);
  const program = new DataView(filter.buffer);
  let value = 0;
  for (let at = 0; at * 8 < filter.length; at += 1) {
    const code = program.getUint16(at * 8, true);
    const operand = program.getUint32(at * 8 + 4, true);
    const jump = (yes: boolean): number => program.getUint8(at * 8 + (yes ? 2 : 3));
    if (code === 0x20) value = data.getUint32(operand, true);
    else if (code === 0x54) value = (value & operand) >>> 0;
    else if (code === 0x15) at += jump(value === operand);
    else if (code === 0x45) at += jump((value & operand) !== 0);
    else if (code === 0x35) at += jump(value >= operand);
    else if (code === 0x06) return operand;
    else throw new Error(`unknown instruction ${code}`);
  }
  throw new Error("the filter has no end");
}
