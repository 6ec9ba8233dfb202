package dns_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	headwaydns "github.com/headway-sh/headway/proxy/dns"
)

// floodEnv makes the test binary a client: "ADDRESS SECONDS WINDOW".
const floodEnv = "HEADWAY_TEST_DNS_FLOOD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(floodEnv); spec != "" {
		if err := flood(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// names are what the client asks for, in turn.
const names = 1000

// flood asks with a number of questions on the way at a time, and prints how
// many answers came and how long the median and the slowest hundredth took.
func flood(spec string) error {
	words := strings.Fields(spec)
	seconds, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	window, err := strconv.Atoi(words[2])
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp", words[0])
	if err != nil {
		return err
	}
	queries := make([][]byte, names)
	for i := range queries {
		m := new(dns.Msg).SetQuestion(fmt.Sprintf("s%d.shop.svc.cluster.local.", i), dns.TypeA).SetEdns0(1232, false)
		if queries[i], err = m.Pack(); err != nil {
			return err
		}
	}
	var sent [1 << 16]time.Time
	var took []time.Duration
	id := uint16(0)
	send := func() error {
		id++
		q := queries[int(id)%names]
		binary.BigEndian.PutUint16(q, id)
		sent[id] = time.Now()
		_, err := conn.Write(q)
		return err
	}
	for range window {
		if err := send(); err != nil {
			return err
		}
	}
	answer := make([]byte, 2048)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		if _, err := conn.Read(answer); err != nil {
			return err
		}
		took = append(took, time.Since(sent[binary.BigEndian.Uint16(answer)]))
		if err := send(); err != nil {
			return err
		}
	}
	slices.Sort(took)
	fmt.Println(len(took), took[len(took)/2].Nanoseconds(), took[len(took)*99/100].Nanoseconds())
	return nil
}

func busy(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPackets is a server that another process asks: answers for each
// second of the server's CPU, and how long one takes.
func BenchmarkPackets(b *testing.B) {
	z := headwaydns.NewZone("cluster.local")
	for i := range names {
		set(z, service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250)))
	}
	z.Ready()
	server := startConfig(b, headwaydns.Config{Zone: z, Logger: slog.New(slog.DiscardHandler)})
	for _, window := range []int{1, 16} {
		b.Run(fmt.Sprint("window-", window), func(b *testing.B) {
			for range b.N {
				client := exec.Command(os.Args[0])
				client.Env = append(os.Environ(), fmt.Sprintf("%s=%s 2 %d", floodEnv, server, window))
				before := busy(b)
				out, err := client.Output()
				if err != nil {
					b.Fatal(err)
				}
				var n, p50, p99 float64
				if _, err := fmt.Sscan(string(out), &n, &p50, &p99); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(n/(busy(b)-before).Seconds(), "answers/cpu-s")
				b.ReportMetric(n/2, "answers/s")
				b.ReportMetric(p50/1e6, "p50-ms")
				b.ReportMetric(p99/1e6, "p99-ms")
			}
		})
	}
}
