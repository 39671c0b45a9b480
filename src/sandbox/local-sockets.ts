/**
 * The filter over system calls that leaves a command no local (Unix) sockets but connected pairs: through
 * others it could tell a helper outside the sandbox, or a Pod, what to do for it. It holds on every kernel,
 * because Landlock knows socket files from version 9 on only.
 */
import {
  AF_UNIX,
  ALLOW,
  argument,
  EACCES,
  FAIL,
  filterInterfaces,
  IF_EQUAL,
  type Instruction,
  KEEP_BITS,
  LOAD,
  RETURN,
  WITHOUT_IO_URING,
} from "./bpf.ts";

/** The kind of a socket among the bits of its type (socket(2)). */
const KIND_BITS = 0xf;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
// What socketcall(2) does, by its first argument; the others lie in memory, which no filter sees.
const MAKES_SOCKET = 1;
const MAKES_PAIR = 8;

/** Numbers of the calls that make sockets (arch/…/syscall.tbl). */
interface Calls {
  readonly audit: number;
  readonly socket: number;
  readonly pair: number;
  readonly multiplexer?: number;
}

/** The machine's own interface and that of its 32-bit programs. */
const INTERFACES: Readonly<Record<string, readonly Calls[]>> = {
  x64: [
    { audit: 0xc000_003e, socket: 41, pair: 53 },
    { audit: 0x4000_0003, socket: 359, pair: 360, multiplexer: 102 },
  ],
  arm64: [
    { audit: 0xc000_00b7, socket: 198, pair: 199 },
    { audit: 0x4000_0028, socket: 281, pair: 288, multiplexer: 102 },
  ],
};

/**
 * The filter for `arch` as `process.arch` names it. Pairs are made of streams alone, with or
 * without marks between messages: an end of any other kind (raw ones are datagrams to the kernel) could be
 * connected anew.
 */
export function localSocketFilter(arch: string): Uint8Array {
  const interfaces = INTERFACES[arch];
  if (interfaces === undefined) throw new Error(`no filter for local sockets on ${arch}`);
  return filterInterfaces(interfaces, ({ socket, pair, multiplexer }) => [
    ...WITHOUT_IO_URING,
    ...refuseSocket(socket),
    ...refusePair(pair),
    ...(multiplexer === undefined ? [] : refuseMultiplexed(multiplexer)),
  ]);
}

function refuseSocket(call: number): Instruction[] {
  return [
    [IF_EQUAL, 0, 4, call],
    [LOAD, 0, 0, argument(0)],
    [IF_EQUAL, 0, 1, AF_UNIX],
    [RETURN, 0, 0, FAIL | EACCES],
    [RETURN, 0, 0, ALLOW],
  ];
}

function refusePair(call: number): Instruction[] {
  return [
    [IF_EQUAL, 0, 6, call],
    [LOAD, 0, 0, argument(1)],
    [KEEP_BITS, 0, 0, KIND_BITS],
    [IF_EQUAL, 2, 0, SOCK_STREAM],
    [IF_EQUAL, 1, 0, SOCK_SEQPACKET],
    [RETURN, 0, 0, FAIL | EACCES],
    [RETURN, 0, 0, ALLOW],
  ];
}

function refuseMultiplexed(call: number): Instruction[] {
  return [
    [IF_EQUAL, 0, 5, call],
    [LOAD, 0, 0, argument(0)],
    [IF_EQUAL, 1, 0, MAKES_SOCKET],
    [IF_EQUAL, 0, 1, MAKES_PAIR],
    [RETURN, 0, 0, FAIL | EACCES],
    [RETURN, 0, 0, ALLOW],
  ];
}
