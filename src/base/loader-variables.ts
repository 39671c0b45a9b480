/**
 * Variables that make the loader and the C library take code from directories that they name. Of these
 * some may be writable by a Pod's commands (an empty entry of `LD_LIBRARY_PATH` is the working directory),
 * so no child and no command starts with them: they travel under other names, and only the shell of a
 * command gets them back. What a person starts has them, before any command could have written anything.
 */

const CARRIED = "INSOMNIA_CARRIED_";

/** ld.so(8), iconv(3), locale(7), dyld(1). */
const LOADER = /^(?:LD_.*|GCONV_PATH|LOCPATH|GLIBC_TUNABLES|DYLD_.*)$/s;

/** The name under which a variable travels; its own where it is harmless. */
export function carriedName(name: string): string {
  return LOADER.test(name) ? CARRIED + name : name;
}

/** The name that a variable had, for the shell of a command. */
export function originalName(name: string): string {
  return name.startsWith(CARRIED) ? name.slice(CARRIED.length) : name;
}
