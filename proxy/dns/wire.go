package dns

import "encoding/binary"

// Offsets and bits of a DNS header (RFC 1035, 4.1.1).
const (
	headerSize    = 12
	bitResponse   = 0x8000
	maskOpcode    = 0x7800
	bitTruncated  = 0x0200
	bitRecursion  = 0x0100
	typeOPT       = 41
	classINET     = 1
	plainSize     = 512  // what a client takes that says nothing
	largestPacket = 1232 // what passes every link unfragmented (DNS flag day 2020)
)

// query is a question as it lies in a packet.
type query struct {
	// key is the name in lower case, the type, and whether the client speaks EDNS.
	key []byte
	// question are the bytes of the name as the client wrote it.
	question []byte
	// size is the largest answer that the client takes.
	size int
}

// parse reads the usual kind of query: one question of class IN, perhaps with
// EDNS. Everything else is for the general path. key is appended to scratch.
func parse(packet, scratch []byte) (q query, ok bool) {
	if len(packet) < headerSize+5 {
		return q, false
	}
	flags := binary.BigEndian.Uint16(packet[2:])
	if flags&(bitResponse|maskOpcode|bitTruncated) != 0 ||
		binary.BigEndian.Uint32(packet[4:]) != 1<<16 || binary.BigEndian.Uint16(packet[8:]) != 0 {
		return q, false
	}
	key, at := scratch[:0], headerSize
	for {
		n := int(packet[at])
		if n > 63 || at+n+5 >= len(packet)+1 {
			return q, false
		}
		key = append(key, packet[at])
		at++
		if n == 0 {
			break
		}
		for _, c := range packet[at : at+n] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			key = append(key, c)
		}
		at += n
		if at >= len(packet) {
			return q, false
		}
	}
	if at-headerSize > 255 || at+4 > len(packet) || binary.BigEndian.Uint16(packet[at+2:]) != classINET {
		return q, false
	}
	q.question = packet[headerSize:at]
	key = append(key, packet[at], packet[at+1], 0)
	q.size, q.key = plainSize, key
	rest := packet[at+4:]
	switch binary.BigEndian.Uint16(packet[10:]) {
	case 0:
		return q, len(rest) == 0
	case 1:
		// Root name, OPT, size, extended code and version, flags, length.
		if len(rest) < 11 || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != typeOPT || rest[6] != 0 ||
			len(rest) != 11+int(binary.BigEndian.Uint16(rest[9:])) {
			return q, false
		}
		q.size = min(max(plainSize, int(binary.BigEndian.Uint16(rest[3:]))), largestPacket)
		q.key[len(q.key)-1] = 1
		return q, true
	}
	return q, false
}

// fill turns a ready answer to a query's like into the answer to it.
func (q *query) fill(out, answer, packet []byte) []byte {
	out = append(out[:0], answer...)
	copy(out, packet[:2]) // its number
	out[2] = out[2]&^(bitRecursion>>8) | packet[2]&(bitRecursion>>8)
	copy(out[headerSize:], q.question) // as the client spelled it
	return out
}
