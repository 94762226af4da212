/** Which headers a client may choose by STRUCTURED_REPLY and EXTENDED_HEADERS, and in which order. Pure; proto.md, "Option types". */
import { NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_EXT_HEADER_REQD, NBD_REP_ERR_INVALID, NBD_REP_ERR_UNSUP } from './wire/constants.ts';

export interface HeaderChoice {
  /** This server offers extended headers. */
  offered: boolean;
  /** They were agreed on already. */
  extended: boolean;
}

/** Undefined: agreed. What is asked for again is agreed on again. */
export function headersRefused(option: number, dataBytes: number, c: HeaderChoice): { reply: number; why: string } | undefined {
  if (option === NBD_OPT_EXTENDED_HEADERS && !c.offered) return { reply: NBD_REP_ERR_UNSUP, why: 'unknown option' };
  if (dataBytes > 0) return { reply: NBD_REP_ERR_INVALID, why: 'this option takes no data' };
  if (option !== NBD_OPT_EXTENDED_HEADERS && c.extended) {
    return { reply: NBD_REP_ERR_EXT_HEADER_REQD, why: 'extended headers were agreed on, and say more' };
  }
  return undefined;
}
