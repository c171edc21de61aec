// The gRPC API, from the proto of the repository.

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { join } from 'node:path';
import { REPOSITORY, TOKENS } from './server.mjs';

export const { status } = grpc;

const definition = loadSync('rollcall/control/v1/control.proto', {
  includeDirs: [join(REPOSITORY, 'proto')],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
});
const { Control: Service } = grpc.loadPackageDefinition(definition).rollcall.control.v1;

export class Control {
  #service;
  #metadata = new grpc.Metadata();

  /** `authorization` replaces the header; null leaves it out. */
  constructor(server, authorization = `Bearer ${TOKENS.all}`) {
    this.#service = new Service(`127.0.0.1:${server.ports.grpc}`, grpc.credentials.createInsecure());
    if (authorization !== null) this.#metadata.set('authorization', authorization);
  }

  /** Calls `rpc` and resolves to its answer, or rejects with an error whose `code` is a status. */
  call(rpc, message) {
    const deadline = Date.now() + 20_000;
    return new Promise((resolve, reject) => {
      const done = (error, answer) => (error ? reject(error) : resolve(answer));
      this.#service[rpc](message, this.#metadata, { deadline }, done);
    });
  }

  /** The status that `rpc` fails with, and its text. */
  async failure(rpc, message) {
    try {
      const answer = await this.call(rpc, message);
      throw new Error(`${rpc} answered ${JSON.stringify(answer)}`);
    } catch (error) {
      if (error.code === undefined) throw error;
      return { code: error.code, details: error.details };
    }
  }

  /** Starts a stream; the caller cancels it. */
  watch(message) {
    return this.#service.WatchUsers(message, this.#metadata);
  }

  close() {
    this.#service.close();
  }
}
