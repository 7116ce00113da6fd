"""A proxy that terminates TLS in front of an HTTP server on this machine.

Usage: tls_proxy.py TARGET_PORT CA_FILE

Prints the port it listens on, and writes the certificate of its authority to CA_FILE.
"""

import socket
import ssl
import sys
import threading

import trustme

target_port = int(sys.argv[1])
ca_file = sys.argv[2]
authority = trustme.CA()
authority.cert_pem.write_to_path(ca_file)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(context)


def copy(source, destination):
    try:
        while data := source.recv(65536):
            destination.sendall(data)
    except OSError:
        pass
    for connection in (source, destination):
        try:
            connection.close()
        except OSError:
            pass


def serve(connection):
    try:
        client = context.wrap_socket(connection, server_side=True)
    except (OSError, ssl.SSLError):
        return
    server = socket.create_connection(("127.0.0.1", target_port))
    threading.Thread(target=copy, args=(server, client), daemon=True).start()
    copy(client, server)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
