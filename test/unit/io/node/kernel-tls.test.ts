/** Whether the kernel's TLS is used; what it then does is tried in a kernel that has it (test/interop/kernel-tls.test.ts). */
import { describe, expect, it } from 'vitest';
import { kernelTlsChoice } from '../../../../src/io/node/kernel-tls.ts';

describe('kernelTlsChoice', () => {
  it('has none where it is not wanted, or where the portable engine serves', () => {
    expect(kernelTlsChoice('off', 'native')).toBeUndefined();
    expect(kernelTlsChoice('on', 'portable')).toBeUndefined();
  });

  it('takes the kernel as it is by default', () => {
    const byDefault = kernelTlsChoice(undefined, 'native') !== undefined;
    expect(kernelTlsChoice('', 'native') !== undefined).toBe(byDefault);
    expect(kernelTlsChoice('on', 'native') !== undefined).toBe(byDefault);
  });

  it('refuses another word, naming those it takes', () => {
    expect(() => kernelTlsChoice('yes', 'native')).toThrow('NETRAID_KERNEL_TLS=yes: allowed are on and off');
  });
});
