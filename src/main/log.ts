/** Events of the daemon for people and journals: one line each, on standard error. */
import winston from 'winston';
import type { Log } from '../io/log.ts';

export type LogFormat = 'text' | 'json';

/** `close` resolves when every line has been written. */
export function createLog(format: LogFormat): Log & { close(): Promise<void> } {
  const { combine, timestamp, json, printf } = winston.format;
  const text = printf((line) => {
    const { timestamp: at, level, message, ...fields } = line;
    const rest = Object.entries(fields)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => `${k}=${JSON.stringify(v)}`);
    return [String(at), level.toUpperCase(), String(message), ...rest].join(' ');
  });
  const logger = winston.createLogger({
    format: combine(timestamp(), format === 'json' ? json() : text),
    transports: [new winston.transports.Console({ stderrLevels: ['error', 'warn', 'info'] })],
  });
  return {
    info: (message, fields) => {
      logger.info(message, fields);
    },
    warn: (message, fields) => {
      logger.warn(message, fields);
    },
    error: (message, fields) => {
      logger.error(message, fields);
    },
    close: () =>
      new Promise((resolve) => {
        logger.on('finish', () => {
          process.stderr.write('', () => {
            resolve();
          });
        });
        logger.end();
      }),
  };
}
