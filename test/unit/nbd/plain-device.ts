/** A device for handshakes, which send it no request. */
import type { Device, DeviceInfo } from '../../../src/nbd/device.ts';

export const INFO: DeviceInfo = {
  sizeBytes: 1024 * 1024 + 100,
  readOnly: false,
  blockSizeMinBytes: 512,
  blockSizePreferredBytes: 4096,
  payloadMaxBytes: 1024 * 1024,
  canTrim: true,
  canWriteZeroes: true,
  canFastZero: false,
  canFua: true,
  multiConn: true,
  description: 'a mirror',
};

export function deviceWith(info: DeviceInfo): Device {
  const never = (): never => {
    throw new Error('a handshake sends no request');
  };
  return { info: () => info, read: never, write: never, flush: never, trim: never, writeZeroes: never, blockStatus: never, cache: never };
}
