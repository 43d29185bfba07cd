"""Which methods of the library darts there are, and with which arguments: a table.

The key of a method is the end of its name in the zoo. Arguments are those of the darts class; where
there is a tuple, its members are candidates, and all combinations of candidates are tried. Three
more say how a network is trained: `updates`, that many steps of Adam at `learning_rate`, which then
falls by half a cosine, in place of `n_epochs` at darts' own constant rate; and `device`, None for a
GPU if there is one. `seasonal_periods` of Prophet is the one season that it gets.

Imports nothing: the zoo lists its models where darts is not installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Family = Literal["local", "filter", "regression", "network"]

FAMILIES: dict[Family, str] = {
    "local": (
        "darts fits it to one series and forecasts that only, so it is fitted anew to the context "
        "of each window: nothing is learned from training data but the choice among candidates, "
        "and a forecast costs a fit for each window{and_state}."
    ),
    "filter": (
        "It is fitted once, to at most the last 2000 points of the first training trajectory"
        "{one_copy}; a context then sets its state by filtering, window after window."
    ),
    "regression": (
        "The last `lags` states, all coordinates together, are the inputs; forecasts are fed back. "
        "It is fitted once to all training trajectories, and forecasts all windows together."
    ),
    "network": (
        "It is trained once on windows of all training trajectories, in float32, by darts' own "
        "loop (PyTorch Lightning), and forecasts all windows together: `output_chunk_length` steps "
        "at once, which are fed back."
    ),
}

# The grids of Gilpin (2023), for data with 100 points in a period.
STUDY_LAGS = (3, 5, 10, 25)
STUDY_INPUTS = (5, 10, 25, 50, 100)
STUDY_SEASONS = ("ADDITIVE", "NONE")


@dataclass(frozen=True)
class Method:
    """A forecasting class of darts.

    `study` holds what the preset gilpin2023 changes, None for what is no part of that study;
    `small` what makes it small enough for a test.
    """

    darts_class: str
    family: Family
    title: str
    about: str
    tuned: Mapping[str, Any] = field(default_factory=dict)
    study: Mapping[str, Any] | None = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    multivariate: bool = True  # False: each coordinate by itself
    stochastic: bool = False
    libraries: tuple[str, ...] = ()  # that darts needs for it, by the names they are imported by
    extra: str = "darts"  # of dysts-bench, which brings them


def _network(
    darts_class: str,
    title: str,
    about: str,
    tuned: Mapping[str, Any],
    small: Mapping[str, Any],
    *,
    darts: Mapping[str, Any],
    study: bool = True,
) -> Method:
    """A network; `darts` holds the defaults of darts for what `tuned` changes."""
    return Method(
        darts_class,
        "network",
        title,
        about,
        tuned={
            "input_chunk_length": (16, 64),
            "output_chunk_length": 8,
            "batch_size": 128,
            "n_epochs": None,
            "updates": 1500,
            "learning_rate": 1e-3,
            "device": None,
            **tuned,
        },
        study={
            "input_chunk_length": STUDY_INPUTS,
            "output_chunk_length": 1,
            "batch_size": 32,
            "n_epochs": 100,
            "updates": None,
            "learning_rate": None,
            **darts,
        }
        if study
        else None,
        small={
            "input_chunk_length": 8,
            "output_chunk_length": 4,
            "batch_size": 16,
            "updates": 4,
            "device": "cpu",
            **small,
        },
        stochastic=True,
        libraries=("torch", "pytorch_lightning"),
    )


METHODS: dict[str, Method] = {
    "naive_mean": Method(
        "NaiveMean",
        "local",
        "The mean of the context, for ever.",
        "Unlike the zoo's naive_mean, it sees no training data. The study's floor.",
    ),
    "naive_drift": Method(
        "NaiveDrift",
        "local",
        "The straight line through the first and the last state of the context.",
        "The zoo's drift, as darts has it.",
    ),
    "naive_seasonal": Method(
        "NaiveSeasonal",
        "local",
        "The last K states of the context, repeated.",
        "darts' default K = 1 repeats the last state; otherwise it is exact where the period is K "
        "sampling intervals, a whole number.",
        tuned={"K": (1, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 75, 100, 150)},
        study={"K": 1},
        small={"K": (1, 30)},
    ),
    "arima": Method(
        "ARIMA",
        "filter",
        "ARIMA(p, d, q): autoregression of d-th differences with moving-average errors.",
        "By maximum likelihood in statsmodels: seconds a coordinate, 10 for p = 25. It wins on "
        "noisy oscillations; of a chaotic system it sees a linearisation. Box & Jenkins (1970).",
        tuned={"p": (4, 10), "d": 0, "q": 0},
        study={"p": STUDY_LAGS, "d": 1, "q": 0},
        small={"p": 2},
        multivariate=False,
    ),
    "auto_arima": Method(
        "AutoARIMA",
        "filter",
        "ARIMA with orders chosen stepwise by an information criterion.",
        "By statsforecast (the study's was pmdarima). Hyndman & Khandakar, J. Stat. Softw. 27, 3 "
        "(2008).",
        tuned={"d": 0, "max_p": 8, "max_q": 2},
        study={"d": None, "max_p": 5, "max_q": 5},
        small={"max_p": 2, "max_q": 0},
        multivariate=False,
        libraries=("statsforecast",),
    ),
    "exponential_smoothing": Method(
        "ExponentialSmoothing",
        "local",
        "Holt-Winters: level, trend and season, each an exponential average of the past.",
        "The study's season is darts' default, 12 points long whatever the data; a damped trend "
        "without season is the better default. Trends are what it wins on.",
        tuned={"seasonal": "NONE", "damped": True},
        study={"seasonal": STUDY_SEASONS, "damped": False},
        multivariate=False,
    ),
    "theta": Method(
        "Theta",
        "local",
        "The Theta method: a line and an exponential average, in equal parts.",
        "Assimakopoulos & Nikolopoulos, Int. J. Forecast. 16, 521 (2000): made for trends in short "
        "economic series.",
        tuned={"season_mode": "NONE"},
        study={"season_mode": STUDY_SEASONS},
        multivariate=False,
    ),
    "four_theta": Method(
        "FourTheta",
        "local",
        "The Theta method with other trends, errors and a normalisation.",
        "4Theta of the M4 competition. With its defaults the forecast of Theta.",
        tuned={"season_mode": "NONE"},
        study={"season_mode": STUDY_SEASONS},
        multivariate=False,
    ),
    "fft": Method(
        "FFT",
        "local",
        "The strongest Fourier components of the context, continued.",
        "It repeats the context, smoothed: exact for a context of whole periods.",
        tuned={"nr_freqs_to_keep": (5, 10, 20, 40)},
        study={"nr_freqs_to_keep": 10},
        small={"nr_freqs_to_keep": 10},
        multivariate=False,
    ),
    "prophet": Method(
        "Prophet",
        "local",
        "Prophet: a trend with change points and Fourier series of given seasons.",
        "Points stand for days, for it wants dates; the season is 30 points long by default, and "
        "the preset gilpin2023 has its own yearly and weekly ones. Taylor & Letham, Am. Stat. 72, "
        "37 (2018).",
        tuned={"seasonal_periods": 30},
        study={"seasonal_periods": None},
        multivariate=False,
        libraries=("prophet",),
        extra="prophet",
    ),
    "tbats": Method(
        "TBATS",
        "local",
        "TBATS: exponential smoothing with trigonometric seasons.",
        "De Livera, Hyndman & Snyder, J. Am. Stat. Assoc. 106, 1513 (2011). One season; no "
        "Box-Cox transform, trend or ARMA errors, which take it minutes to choose.",
        tuned={
            "season_length": 30,
            "use_boxcox": False,
            "use_trend": False,
            "use_damped_trend": False,
            "use_arma_errors": False,
        },
        study=None,
        multivariate=False,
        libraries=("statsforecast",),
    ),
    "kalman": Method(
        "KalmanForecaster",
        "filter",
        "A linear state space model of dimension dim_x, found by N4SID, and its Kalman filter.",
        "Van Overschee & De Moor, Automatica 30, 75 (1994). The study has darts' default, dim_x = "
        "1, which cannot even oscillate. The filter's covariance is kept symmetric, which darts' "
        "own is not: there, with two states or more rounding blows it up and forecasts are NaN.",
        tuned={"dim_x": (4, 8, 16)},
        study={"dim_x": 1},
        small={"dim_x": 4},
    ),
    "linear_regression": Method(
        "LinearRegressionModel",
        "regression",
        "Linear autoregression by ordinary least squares.",
        "The zoo's linear without a ridge. Milliseconds.",
        tuned={"lags": (2, 5, 10, 25, 50), "output_chunk_length": 1},
        study={"lags": STUDY_LAGS, "output_chunk_length": 1},
        small={"lags": 10},
    ),
    "random_forest": Method(
        "RandomForestModel",
        "regression",
        "Random forest: the mean of trees, each grown on its own sample of windows.",
        "Breiman, Mach. Learn. 45, 5 (2001). It forecasts means of what it has seen, so it never "
        "diverges and hardly beats analogs. One step of a forecast costs 10 ms.",
        tuned={"lags": (5, 20), "output_chunk_length": 10, "n_estimators": 100},
        study={"lags": STUDY_LAGS, "output_chunk_length": 1, "n_estimators": 100},
        small={"lags": 4, "n_estimators": 3},
        stochastic=True,
    ),
    "xgboost": Method(
        "XGBModel",
        "regression",
        "Gradient-boosted trees of XGBoost, one model a coordinate and step.",
        "Chen & Guestrin, KDD 2016. Forecasts lie within what it has seen.",
        tuned={"lags": (5, 20), "output_chunk_length": 1, "n_estimators": 100},
        study={"lags": STUDY_LAGS, "output_chunk_length": 1, "n_estimators": 100},
        small={"lags": 4, "n_estimators": 5},
        libraries=("xgboost",),
    ),
    "lightgbm": Method(
        "LightGBMModel",
        "regression",
        "Gradient-boosted trees of LightGBM, one model a coordinate and step.",
        "Ke et al., NeurIPS 2017. In the study's code, but commented out.",
        tuned={"lags": (5, 20), "output_chunk_length": 1, "n_estimators": 100},
        study={"lags": STUDY_LAGS, "output_chunk_length": 1, "n_estimators": 100},
        small={"lags": 4, "n_estimators": 5},
        libraries=("lightgbm",),
    ),
    "nbeats": _network(
        "NBEATSModel",
        "N-BEATS: stacks of dense layers, each forecasts what the ones before it left over.",
        "Oreshkin et al., ICLR 2020. The best of the study. Its 30 stacks have 7 million "
        "parameters, where 6 do as well here.",
        tuned={"num_stacks": 6, "layer_widths": 256},
        darts={"num_stacks": 30},
        small={"num_stacks": 2, "layer_widths": 8},
    ),
    "nhits": _network(
        "NHiTSModel",
        "N-HiTS: N-BEATS whose stacks see inputs pooled, and forecast, at several time scales.",
        "Challu et al., AAAI 2023. The second of the study.",
        tuned={"layer_widths": 256, "dropout": 0.0},
        darts={"layer_widths": 512, "dropout": 0.1},
        small={"layer_widths": 8},
    ),
    "lstm": _network(
        "RNNModel",
        "A long short-term memory that forecasts one step, whose state runs on.",
        "Hochreiter & Schmidhuber, Neural Comput. 9, 1735 (1997). Trained on sequences of "
        "`training_length`. The study's have 24 points, or, as darts now asks for, as many as "
        "the longer inputs of the grid.",
        tuned={"hidden_dim": 64, "n_rnn_layers": 1, "training_length": 96},
        darts={"hidden_dim": 25, "n_rnn_layers": 2, "training_length": 24, "n_epochs": 200},
        small={"hidden_dim": 8, "training_length": 12},
    ),
    "block_rnn": _network(
        "BlockRNNModel",
        "A recurrent encoder of the input, and a dense layer for all steps of the output.",
        "The study's is a plain (Elman) network, the default an LSTM.",
        tuned={"model": "LSTM", "hidden_dim": 64},
        darts={"model": "RNN", "hidden_dim": 25},
        small={"hidden_dim": 8},
    ),
    "tcn": _network(
        "TCNModel",
        "Temporal convolutions, dilated so that the last output sees the whole input.",
        "Bai, Kolter & Koltun (2018), arXiv 1803.01271. darts' default is 3 filters with dropout.",
        tuned={"num_filters": 32, "dropout": 0.0},
        darts={"num_filters": 3, "dropout": 0.2},
        small={"num_filters": 4},
    ),
    "transformer": _network(
        "TransformerModel",
        "The encoder-decoder Transformer, a token a time step.",
        "Vaswani et al., NeurIPS 2017. Attention over input_chunk_length states: the slowest of "
        "these networks.",
        tuned={
            "d_model": 32,
            "num_encoder_layers": 2,
            "num_decoder_layers": 1,
            "dim_feedforward": 64,
            "dropout": 0.0,
        },
        darts={
            "d_model": 64,
            "num_encoder_layers": 3,
            "num_decoder_layers": 3,
            "dim_feedforward": 512,
            "dropout": 0.1,
        },
        small={"d_model": 8, "num_encoder_layers": 1, "dim_feedforward": 8},
    ),
    "tft": _network(
        "TFTModel",
        "The Temporal Fusion Transformer: gated variable selection, an LSTM, attention.",
        "Lim et al., Int. J. Forecast. 37, 1748 (2021). Made for known future inputs, which a "
        "flow does not have; its only one here is the time within a window.",
        tuned={
            "add_relative_index": True,  # without future inputs it does not start
            "hidden_size": 16,
            "dropout": 0.0,
            "updates": 750,
            "input_chunk_length": 16,
        },
        darts={},
        small={"hidden_size": 4},
        study=False,
    ),
    "tide": _network(
        "TiDEModel",
        "TiDE: a residual dense encoder and decoder, with a linear path beside them.",
        "Das et al., Trans. Mach. Learn. Res. (2023).",
        tuned={"hidden_size": 128, "dropout": 0.0},
        darts={},
        small={"hidden_size": 8},
        study=False,
    ),
    "tsmixer": _network(
        "TSMixerModel",
        "TSMixer: dense layers that mix over time and over coordinates, by turns.",
        "Chen et al., Trans. Mach. Learn. Res. (2023).",
        tuned={"hidden_size": 64, "ff_size": 64, "dropout": 0.0},
        darts={},
        small={"hidden_size": 8, "ff_size": 8},
        study=False,
    ),
    "dlinear": _network(
        "DLinearModel",
        "DLinear: a moving average and the rest, each continued by a linear layer.",
        "Zeng et al., AAAI 2023. A linear model, trained by gradient descent.",
        tuned={"kernel_size": 25},
        darts={},
        small={"kernel_size": 5},
    ),
    "nlinear": _network(
        "NLinearModel",
        "NLinear: a linear layer on the input less its last state.",
        "Zeng et al., AAAI 2023. A linear model, trained by gradient descent.",
        tuned={"normalize": True},
        darts={},
        small={},
    ),
}
