// What a Go plugin needs to talk to RUNE, with Go 1.18 or newer and its standard library.
// Copy it beside the plugin's own source: the plugin travels as the compiled program.
//
//	func main() {
//		RuneRun(func() (map[string]any, error) {
//			path, _ := RuneParam("path")
//			return map[string]any{"path": path}, nil
//		})
//	}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// RuneFailure ends the plugin with an error; Code (1 to 255) is its exit status.
type RuneFailure struct {
	Code      int            `json:"code"`
	Message   string         `json:"message"`
	Details   map[string]any `json:"details,omitempty"`
	Retryable *bool          `json:"retryable,omitempty"`
}

func (failure *RuneFailure) Error() string { return failure.Message }

// RuneMetric is a number meant for comparison; Better is "higher" or "lower".
type RuneMetric struct {
	Name    string            `json:"name"`
	Value   float64           `json:"value"`
	Unit    string            `json:"unit"`
	Better  string            `json:"better"`
	Labels  map[string]string `json:"labels,omitempty"`
	Samples []float64         `json:"samples,omitempty"`
}

var (
	runeStarted = time.Now()
	runeRequest struct {
		Payload struct {
			InputParameters map[string]any `json:"input_parameters"`
			Context         map[string]any `json:"context"`
		} `json:"payload"`
	}
	runeMetrics []RuneMetric
)

// runeRead reads the request from stdin. Numbers stay json.Number, with all their digits.
func runeRead() error {
	decoder := json.NewDecoder(os.Stdin)
	decoder.UseNumber()
	if err := decoder.Decode(&runeRequest); err != nil || runeRequest.Payload.InputParameters == nil {
		return &RuneFailure{Code: 1, Message: "stdin has no object payload.input_parameters"}
	}
	return nil
}

// RuneParam returns the parameter that keys (string) and indices (int) lead to, and whether it is
// there; null is nil and there.
func RuneParam(path ...any) (any, bool) {
	var value any = runeRequest.Payload.InputParameters
	for _, step := range path {
		switch inside := value.(type) {
		case map[string]any:
			key, isKey := step.(string)
			found, there := inside[key]
			if !isKey || !there {
				return nil, false
			}
			value = found
		case []any:
			index, isIndex := step.(int)
			if !isIndex || index < 0 || index >= len(inside) {
				return nil, false
			}
			value = inside[index]
		default:
			return nil, false
		}
	}
	return value, true
}

// RuneContext returns target, action, run_id, attempt, deadline or timeout_s; nil if not given.
func RuneContext(name string) any { return runeRequest.Payload.Context[name] }

// RuneLeft returns the time until the host ends the plugin, and whether anybody said. It is counted
// from the start, so that a wrong clock of the host does no harm.
func RuneLeft() (time.Duration, bool) {
	number, _ := RuneContext("timeout_s").(json.Number)
	timeout, err := number.Float64()
	if err != nil {
		return 0, false
	}
	left := time.Duration(timeout*float64(time.Second)) - time.Since(runeStarted)
	if left < 0 {
		left = 0
	}
	return left, true
}

// RuneAddMetric adds to output_data.metrics and tells RUNE at once.
func RuneAddMetric(metric RuneMetric) {
	runeMetrics = append(runeMetrics, metric)
	metric.Samples = nil
	runeEvent(struct {
		Kind string `json:"kind"`
		RuneMetric
	}{"metric", metric})
}

// RuneProgress tells how far the plugin is, 0 to 100.
func RuneProgress(percent float64, message string) {
	runeEvent(map[string]any{"kind": "progress", "percent": percent, "message": message})
}

// RuneLog writes a line of log text; level is debug, info, warning or error.
func RuneLog(level, message string) {
	runeEvent(map[string]any{"kind": "log", "level": level, "message": message})
}

// RuneRun answers with what work returns and exits. An error that is no *RuneFailure, and a panic, has
// code 100.
func RuneRun(work func() (map[string]any, error)) {
	outputData, err := runeTry(work)
	var text []byte
	if err == nil {
		if outputData == nil {
			outputData = map[string]any{}
		}
		if _, there := outputData["metrics"]; !there && len(runeMetrics) > 0 {
			outputData["metrics"] = runeMetrics
		}
		payload := map[string]any{"result": "success", "output_data": outputData}
		text, err = runeEncode(map[string]any{"payload": payload})
	}
	status := 0
	if err != nil {
		failure, isFailure := err.(*RuneFailure)
		if !isFailure {
			failure = &RuneFailure{Code: 100, Message: err.Error()}
		}
		status = failure.Code
		if text, err = runeEncode(map[string]any{"error": failure}); err != nil {
			status = 100
			text, _ = runeEncode(map[string]any{"error": &RuneFailure{Code: 100, Message: err.Error()}})
		}
	}
	if _, err := os.Stdout.Write(text); err != nil {
		os.Exit(100)
	}
	os.Exit(status)
}

func runeTry(work func() (map[string]any, error)) (outputData map[string]any, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	if err = runeRead(); err != nil {
		return nil, err
	}
	return work()
}

// runeEncode returns JSON and a newline; bytes of a string that are not UTF-8 become U+FFFD.
func runeEncode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return text.Bytes(), err
}

func runeEvent(event any) {
	if text, err := runeEncode(event); err == nil {
		io.WriteString(os.Stderr, "##rune "+string(text))
	}
}
