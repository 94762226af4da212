/** The first frame each way on a new connection. Each wait has a deadline, each frame a bound. */
import type { PullSocket } from '../io/pull-socket.ts';
import type { Clock } from '../io/types.ts';
import { ClusterCode, ClusterError } from './errors.ts';
import { decodeBody, decodeLength, encodeFrame, FRAME_HEADER_BYTES } from './frame.ts';
import {
  CODE_MAX_CHARS,
  ERROR_MAX_CHARS,
  firstFault,
  HELLO_MAX_BYTES,
  type Hello,
  type HelloAnswer,
  helloAnswerSchema,
  helloSchema,
  rangeText,
} from './messages.ts';

/** `deadline`: on the monotonic clock. Rejects with IoError or FrameError. */
async function readFrame(pull: PullSocket, clock: Clock, deadline: number): Promise<unknown> {
  const left = (): number => Math.max(0, deadline - clock.now());
  const header = await pull.read(FRAME_HEADER_BYTES, left());
  const length = decodeLength(header, HELLO_MAX_BYTES);
  return decodeBody(await pull.read(length, left()));
}

/** Listening side: the hello, well-formed and not yet judged. Rejects with IoError, FrameError, ClusterError `protocol`. */
export async function readHello(pull: PullSocket, clock: Clock, deadline: number): Promise<Hello> {
  const parsed = helloSchema.safeParse(await readFrame(pull, clock, deadline));
  if (!parsed.success) throw new ClusterError(ClusterCode.PROTOCOL, `a hello that is not as agreed: ${firstFault(parsed.error)}`);
  return parsed.data;
}

export function writeAnswer(pull: PullSocket, answer: HelloAnswer): void {
  const fitting = answer.ok ? answer : { ...answer, code: answer.code.slice(0, CODE_MAX_CHARS), error: answer.error.slice(0, ERROR_MAX_CHARS) };
  pull.write(encodeFrame(fitting, HELLO_MAX_BYTES));
}

export interface Greeting {
  protocol: number;
  daemonStart: string;
}

/** Dialing side: says hello and reads the answer. A refusal rejects with the listening node's code. */
export async function greet(pull: PullSocket, clock: Clock, hello: Hello, deadline: number): Promise<Greeting> {
  pull.write(encodeFrame(hello, HELLO_MAX_BYTES));
  const parsed = helloAnswerSchema.safeParse(await readFrame(pull, clock, deadline));
  if (!parsed.success) throw new ClusterError(ClusterCode.PROTOCOL, `an answer to hello that is not as agreed: ${firstFault(parsed.error)}`);
  const answer = parsed.data;
  if (!answer.ok) throw new ClusterError(answer.code, answer.error, hello.to);
  if (answer.node !== hello.to) throw new ClusterError(ClusterCode.WRONG_NODE, `meant to reach ${hello.to}, and ${answer.node} answered`);
  if (answer.protocol < hello.protocol.min || answer.protocol > hello.protocol.max) {
    const said = `${hello.to} chose protocol ${String(answer.protocol)}, which was not offered (${rangeText(hello.protocol)})`;
    throw new ClusterError(ClusterCode.PROTOCOL, said);
  }
  return { protocol: answer.protocol, daemonStart: answer.daemonStart };
}
