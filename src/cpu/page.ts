/** Bytes of the pages that code is kept by. */
export const PAGE = 4096;
