// Verify checks a Cordon log with code that is not ours: golang.org/x/mod/sumdb.
//
//	verify FOLDER VKEY [OLDER_CHECKPOINT ...]
//
// FOLDER holds `checkpoint` and `tile/`, as C2SP tlog-tiles names them. Checked are the signature
// of VKEY (type 01) on the checkpoint, every entry by its inclusion proof, every tile, and for
// each older checkpoint that it is signed, too, and that the log only grew since. It prints one
// line of JSON and exits 0, or says on stderr what is wrong and exits 1.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Logarithm of the width of a tile.
const tileHeight = 8

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: verify FOLDER VKEY [OLDER_CHECKPOINT ...]")
		os.Exit(2)
	}
	report, err := verify(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(report)
}

type report struct {
	Origin     string `json:"origin"`
	Size       int64  `json:"size"`
	Entries    int    `json:"entries"`
	Consistent int    `json:"consistent"`
}

func verify(folder, vkey string, older []string) (*report, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("vkey: %w", err)
	}
	head, err := readHead(filepath.Join(folder, "checkpoint"), verifier)
	if err != nil {
		return nil, err
	}
	entries, err := readEntries(folder, head.N)
	if err != nil {
		return nil, err
	}
	hashes := remember(tlog.TileHashReader(head, tiles(folder)))
	for index, entry := range entries {
		proof, err := tlog.ProveRecord(head.N, int64(index), hashes)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		leaf := tlog.RecordHash(entry)
		if err := tlog.CheckRecord(proof, head.N, head.Hash, int64(index), leaf); err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
	}
	// Not every tile stands in a proof that TileHashReader checks: compare them all.
	if err := checkTiles(folder, head, entries); err != nil {
		return nil, err
	}
	for _, path := range older {
		if err := checkGrowth(path, verifier, head, hashes); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return &report{verifier.Name(), head.N, len(entries), len(older)}, nil
}

// Opens a checkpoint: origin, size and root, signed by the log.
func readHead(path string, verifier note.Verifier) (tlog.Tree, error) {
	var head tlog.Tree
	message, err := os.ReadFile(path)
	if err != nil {
		return head, err
	}
	opened, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return head, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return head, fmt.Errorf("checkpoint: not one of %s", verifier.Name())
	}
	if head.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || head.N < 0 {
		return head, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	if head.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		return head, fmt.Errorf("checkpoint: root %q", lines[2])
	}
	return head, nil
}

// Checks that the log of an older checkpoint is a beginning of this one.
func checkGrowth(path string, verifier note.Verifier, head tlog.Tree, hashes tlog.HashReader) error {
	old, err := readHead(path, verifier)
	if err != nil {
		return err
	}
	if old.N == 0 || old.N > head.N {
		return fmt.Errorf("size %d is not in a log of %d", old.N, head.N)
	}
	proof, err := tlog.ProveTree(head.N, old.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, head.N, head.Hash, old.N, old.Hash)
}

// Reads all entries: each bundle is a list of 2-byte lengths and bytes.
func readEntries(folder string, size int64) ([][]byte, error) {
	var entries [][]byte
	for first := int64(0); first < size; first += 1 << tileHeight {
		tile := tlog.Tile{H: tileHeight, L: -1, N: first >> tileHeight, W: 1 << tileHeight}
		if rest := size - first; rest < int64(tile.W) {
			tile.W = int(rest)
		}
		bundle, err := readTile(folder, tile)
		if err != nil {
			return nil, err
		}
		for i := 0; i < tile.W; i++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("entry %d: its bundle ends early", first+int64(i))
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, bundle[2:end])
			bundle = bundle[end:]
		}
		if len(bundle) != 0 {
			return nil, fmt.Errorf("%s: %d bytes after its last entry", path(tile), len(bundle))
		}
	}
	return entries, nil
}

// Computes the whole tree anew from the entries, and compares root and tiles.
func checkTiles(folder string, head tlog.Tree, entries [][]byte) error {
	var stored []tlog.Hash
	computed := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for index, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(index), entry, computed)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(head.N, computed)
	if err != nil {
		return err
	}
	if root != head.Hash && head.N > 0 {
		return fmt.Errorf("the entries have root %v, the checkpoint says %v", root, head.Hash)
	}
	all := tlog.NewTiles(tileHeight, 0, head.N)
	for i, tile := range all {
		// Go lists a partial tile at every width; the last is the one of this size.
		if i+1 < len(all) && all[i+1].L == tile.L && all[i+1].N == tile.N {
			continue
		}
		expected, err := tlog.ReadTileData(tile, computed)
		if err != nil {
			return err
		}
		found, err := readTile(folder, tile)
		if err != nil {
			return err
		}
		if !bytes.Equal(found, expected) {
			return fmt.Errorf("%s does not hold the hashes of the entries", path(tile))
		}
	}
	return nil
}

// Go names `tile/8/L/N` and `tile/8/data/N` what tlog-tiles names `tile/L/N` and `tile/entries/N`.
func path(tile tlog.Tile) string {
	rest := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if tile.L == -1 {
		rest = "entries/" + strings.TrimPrefix(rest, "data/")
	}
	return "tile/" + rest
}

// Reads a file of the log; where a partial one is gone, the beginning of the full one.
func readTile(folder string, tile tlog.Tile) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(path(tile))))
	full := 1 << tileHeight
	if !os.IsNotExist(err) || tile.W == full || tile.L < 0 {
		return data, err
	}
	width := tile.W
	tile.W = full
	if data, err = readTile(folder, tile); err == nil && len(data) >= width*tlog.HashSize {
		data = data[:width*tlog.HashSize]
	}
	return data, err
}

type tiles string

func (folder tiles) Height() int { return tileHeight }

func (folder tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, len(wanted))
	for i, tile := range wanted {
		data, err := readTile(string(folder), tile)
		if err != nil {
			return nil, err
		}
		all[i] = data
	}
	return all, nil
}

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// Asks for each hash once: the proofs of neighbours share most of theirs.
func remember(source tlog.HashReader) tlog.HashReader {
	known := make(map[int64]tlog.Hash)
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var missing []int64
		for _, index := range indexes {
			if _, ok := known[index]; !ok {
				missing = append(missing, index)
			}
		}
		if len(missing) > 0 {
			found, err := source.ReadHashes(missing)
			if err != nil {
				return nil, err
			}
			for i, index := range missing {
				known[index] = found[i]
			}
		}
		all := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			all[i] = known[index]
		}
		return all, nil
	})
}
