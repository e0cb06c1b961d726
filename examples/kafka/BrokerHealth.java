import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.FileReader;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.Properties;

/**
 * Exits with 0 when this machine's broker is registered with the controller and not fenced, else with 1.
 *
 * <p>It asks the broker on the loopback address for the cluster's brokers (DescribeCluster, version 0) and
 * looks for the broker's own id: a fenced broker is not in that list. The request is written by hand, because
 * loading Kafka's client takes a second of processor time at every check and this takes a tenth of it.
 */
public final class BrokerHealth {
    private static final short DESCRIBE_CLUSTER = 60;
    private static final int PORT = 9092;
    private static final int TIMEOUT_MS = 4000;
    private static final int LARGEST_ANSWER = 1 << 20;

    private BrokerHealth() {}

    public static void main(String[] args) throws IOException {
        var config = new Properties();
        try (var reader = new FileReader(args[0])) {
            config.load(reader);
        }
        int id = Integer.parseInt(config.getProperty("node.id").trim());
        String fault = faultOf(id);
        System.out.println(fault == null ? "broker " + id + " is registered and not fenced" : fault);
        System.exit(fault == null ? 0 : 1);
    }

    /** Returns what is wrong with broker {@code id}, or null. */
    private static String faultOf(int id) {
        try (var socket = new Socket()) {
            socket.connect(new InetSocketAddress("127.0.0.1", PORT), TIMEOUT_MS);
            socket.setSoTimeout(TIMEOUT_MS);
            ask(new DataOutputStream(socket.getOutputStream()));
            return read(new DataInputStream(socket.getInputStream()), id);
        } catch (IOException error) {
            return "no answer on port " + PORT + ": " + error.getMessage();
        }
    }

    private static void ask(DataOutputStream out) throws IOException {
        var request = new ByteArrayOutputStream();
        var body = new DataOutputStream(request);
        body.writeShort(DESCRIBE_CLUSTER);
        body.writeShort(0); // version
        body.writeInt(1); // correlation id
        body.writeShort(-1); // no client id
        body.writeByte(0); // header: no tagged fields
        body.writeByte(0); // the list of allowed operations is not wanted
        body.writeByte(0); // body: no tagged fields
        out.writeInt(request.size());
        request.writeTo(out);
        out.flush();
    }

    private static String read(DataInputStream in, int id) throws IOException {
        int size = in.readInt();
        if (size < 0 || size > LARGEST_ANSWER) {
            return "port " + PORT + " does not speak Kafka's protocol";
        }
        var bytes = new byte[size];
        in.readFully(bytes);
        var answer = new DataInputStream(new ByteArrayInputStream(bytes));
        answer.readInt(); // correlation id
        skipTags(answer);
        answer.readInt(); // throttle time
        int error = answer.readShort();
        if (error != 0) {
            return "the broker answered with error " + error;
        }
        skipString(answer); // error message
        skipString(answer); // cluster id
        answer.readInt(); // controller id
        for (long left = varint(answer) - 1; left > 0; left--) {
            if (answer.readInt() == id) {
                return null;
            }
            skipString(answer); // host
            answer.readInt(); // port
            skipString(answer); // rack
            skipTags(answer);
        }
        return "broker " + id + " is not registered yet, or fenced";
    }

    /** Skips a compact string: its length plus one, then its bytes; zero stands for null. */
    private static void skipString(DataInputStream in) throws IOException {
        in.skipNBytes(Math.max(0, varint(in) - 1));
    }

    private static void skipTags(DataInputStream in) throws IOException {
        for (long left = varint(in); left > 0; left--) {
            varint(in); // tag
            in.skipNBytes(varint(in));
        }
    }

    private static long varint(DataInputStream in) throws IOException {
        long value = 0;
        for (int shift = 0; shift < 35; shift += 7) {
            int part = in.readUnsignedByte();
            value |= (long) (part & 0x7f) << shift;
            if ((part & 0x80) == 0) {
                return value;
            }
        }
        throw new IOException("a number of the answer is too long");
    }
}
