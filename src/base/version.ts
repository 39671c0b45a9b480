/**
 * The version of the program. `build.ts` puts the one of package.json in place of `POD_VERSION`;
 * run from source, where nothing did, the program says so instead of naming a release.
 */
declare const POD_VERSION: string;

/** Version as `pod --version` prints it, for example `0.1.0`. */
export const VERSION: string = typeof POD_VERSION === "string" ? POD_VERSION : "0.0.0-source";
